"""How to search with feedback."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError
from ._fusion import FUSIONS, Fuse
from ._refine.methods import Method
from ._refine.refine import find_method


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackOptions:
    """How to search with feedback.

    Args:
        k: Hits of each search.
        depth: How many of a search's hits are reranked at most; all when None. Those below are
            taken for less relevant: that costs nothing, and 20 reranked of 100 found bring about
            half of the gain of 100.
        method: As for `refine_query`.
        rounds: Refinements, each followed by a search. More than one helps a good reranker and
            harms with a bad one.
        rerank_new: Rerank what the last search adds, too. No passage is reranked twice.
        fuse: See `rerank_plugins.feedback.fused`.
        head: How many of the reranked hits come first where ``fuse="head"``; all when None.
        on_error: ``"raise"``: a failed call raises. ``"keep_order"``: feedback is skipped and the
            result says why.

    Raises:
        InputError: An argument is out of range.
        UnknownNameError: There is no such method.
    """

    k: int = 100
    depth: int | None = None
    method: str | Mapping[str, Any] | Method = "safe"
    rounds: int = 1
    rerank_new: bool = True
    fuse: Fuse = "head"
    head: int | None = None
    on_error: Literal["raise", "keep_order"] = "raise"

    def __post_init__(self) -> None:
        for name in ("k", "depth", "rounds", "head"):
            value = getattr(self, name)
            optional = name in ("depth", "head")
            if value is None and optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r}, expected a positive integer")
        if self.fuse not in FUSIONS:
            raise InputError(f"fuse is {self.fuse!r}", hint=f"Give one of {', '.join(FUSIONS)}.")
        if self.on_error not in ("raise", "keep_order"):
            raise InputError(f"on_error is {self.on_error!r}, expected 'raise' or 'keep_order'")
        find_method(self.method)

    def check_useful(self, top_k: int | None) -> None:
        """Refuse a set-up in which the second search cannot change the best ``top_k``.

        Raises:
            InputError: It cannot.
        """
        reach = min(n for n in (self.head, self.depth, self.k) if n is not None)
        if self.fuse == "head" and not self.rerank_new and top_k is not None and top_k <= reach:
            raise InputError(
                f"the first {reach} places belong to the first search, so the second one cannot "
                f"change the best {top_k}",
                hint="Use rerank_new=True, a smaller head, or another fuse.",
            )
