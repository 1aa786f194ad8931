"""Options and the result of a search with feedback."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from .._checks import at_least, one_of
from ..calls import Hit, Plan
from ..errors import InputError
from ..ranking import Ranking, Report, ScoreKind, Usage
from ._fusion import FUSIONS, Fuse
from ._refine import FloatArray, Refinement, find_method
from ._words import Expansion, find_words

Vector = Sequence[float] | FloatArray
Rank = Callable[[str, Sequence[Hit]], Plan[Ranking]]
"""Plans the ranking of hits."""
Vectors = Callable[[Sequence[Hit]], Plan[Sequence[Vector]]]
"""Plans how to get the vectors of hits; an empty one for a hit without a vector."""

Expand = Literal["query", "neighbours", "both", "words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackOptions:
    """Options of a search with feedback.

    Args:
        k: Hits of each search.
        depth: How many of a search's hits are reranked at most; all when None. The hits below count
            as less relevant: that costs nothing, and reranking 20 of 100 hits brings about half of
            the gain of reranking all 100.
        method: A method of `refine_query`, or ``"e2rank"``: see `E2Rank`; with ``expand="words"``,
            a method of `expand_query`.
        rounds: Refinements, each followed by a search. More than one helps a good reranker and
            harms with a bad one.
        rerank_new: Rerank the new hits of the last search, too. No passage is reranked twice.
        fuse: See `rerank_plugins.feedback.fused`.
        head: How many of the reranked hits come first where ``fuse="head"``; all when None.
        expand: How further passages are found. ``"query"``: by a second search with the refined
            query. ``"neighbours"``: by searches with the vectors of the passages that were ranked
            best, window by window; the query stays as it is. ``"both"``: as neighbours, in turns
            with what the refined query of each window finds. With neighbours, ``depth``
            passages (more than ``window``) are reranked in all, by `gar` where the reranker's
            scores can be compared across lists, else by `slide_gar`; ``rounds``, ``rerank_new``,
            ``fuse`` and ``head`` do not apply. ``"words"``: by a second search by words,
            with those of the passages that were ranked best: see `search_with_words`.
        neighbours: Neighbours of a passage.
        window: Passages that are reranked together, with neighbours; half of them are carried from
            window to window where scores cannot be compared.
        on_error: ``"raise"``: a failed call raises. ``"keep_order"``: feedback is skipped and the
            result says why.

    Raises:
        InputError: An argument is out of range.
        UnknownNameError: There is no such method.
    """

    k: int = 100
    depth: int | None = None
    method: Any = "safe"
    rounds: int = 1
    rerank_new: bool = True
    fuse: Fuse = "head"
    head: int | None = None
    expand: Expand = "query"
    neighbours: int = 16
    window: int = 20
    on_error: Literal["raise", "keep_order"] = "raise"

    def __post_init__(self) -> None:
        for name in ("k", "rounds"):
            if getattr(self, name) is None:
                raise InputError(f"{name} is None, expected at least 1")
        at_least(1, k=self.k, rounds=self.rounds, neighbours=self.neighbours)
        at_least(2, window=self.window)
        at_least(1, none=True, depth=self.depth, head=self.head)
        one_of("fuse", self.fuse, FUSIONS)
        one_of("expand", self.expand, get_args(Expand))
        if self.follows and (
            (self.rounds, self.rerank_new, self.fuse, self.head) != (1, True, "head", None)
        ):
            raise InputError(
                f"rounds, rerank_new, fuse and head do not apply to expand={self.expand!r}",
                hint="Leave them out, or use expand='query'.",
            )
        one_of("on_error", self.on_error, ("raise", "keep_order"))
        if self.expand == "words":
            find_words(self.method)
        else:
            find_method(self.method)

    @property
    def follows(self) -> bool:
        """Whether neighbours are reranked."""
        return self.expand in ("neighbours", "both")

    @property
    def first_depth(self) -> int:
        """The number of hits of the first search that are reranked together at most."""
        depth = self.k if self.depth is None else self.depth
        return min(depth, self.window) if self.follows else depth

    def check_useful(self, top_k: int | None) -> None:
        """Refuse options with which the second search cannot change the best ``top_k``.

        Raises:
            InputError: They are such options.
        """
        if self.follows:
            return
        reach = min(n for n in (self.head, self.depth, self.k) if n is not None)
        if self.fuse == "head" and not self.rerank_new and top_k is not None and top_k <= reach:
            raise InputError(
                f"the first {reach} places belong to the first search, so the second one cannot "
                f"change the best {top_k}",
                hint="Use rerank_new=True, a smaller head, or another fuse.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackResult:
    """The result of a search with feedback.

    Attributes:
        hits: Everything that was found (by the last search, if ``fuse="second"``), best first,
            each once.
        reranked: Ids of the hits that were reranked, best first.
        scores: The reranker's scores by id; empty if only the order is known.
        first: Ids of the first search, in its order.
        second: Ids of the last search with the query, in its order; those of the first if there was
            no other.
        vector: The query vector of the last search, shape ``(dim,)``; empty where words were added.
        query: The text of the last search, where words were added; else empty.
        refinements: One for each round.
        expansions: One for each round, where words were added.
        skipped: Why there was no (further) refinement or search; empty if nothing was skipped.
        failed: True if it was skipped because something failed or is missing, and not on purpose.
        score_kind: The kind of the reranker's scores.
        report: The report of the reranking; positions count along ``hits``.
        usage: The cost, if it was measured.
    """

    hits: tuple[Hit, ...]
    reranked: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    vector: FloatArray
    query: str = ""
    refinements: tuple[Refinement, ...] = ()
    expansions: tuple[Expansion, ...] = ()
    skipped: str = ""
    failed: bool = False
    score_kind: ScoreKind = "rank"
    report: Report = field(default_factory=Report)
    usage: Usage = field(default_factory=Usage)

    @property
    def new(self) -> tuple[str, ...]:
        """Ids that the first search missed, in the order of ``hits``."""
        known = set(self.first)
        return tuple(hit.id for hit in self.hits if hit.id not in known)

    def scored(self, top_k: int | None = None) -> tuple[list[tuple[Hit, float | None]], str]:
        """The best hits with scores of one kind, and that kind.

        The reranker's scores if it scored all of them and they fall along the order; the index's
        own (kind ``"index"``) if nothing was reranked; else reciprocal ranks.

        Args:
            top_k: How many; all when None.
        """
        hits = self.hits[:top_k]
        if not self.reranked:
            return [(hit, hit.score) for hit in hits], "index"
        own = [self.scores.get(hit.id) for hit in hits]
        known = [score for score in own if score is not None]
        if len(known) == len(hits) and known == sorted(known, reverse=True):
            return list(zip(hits, own, strict=True)), self.score_kind
        return [(hit, 1 / rank) for rank, hit in enumerate(hits, start=1)], "rank"


def query_vector(vector: Any) -> FloatArray:
    """Convert a query vector to an array of shape ``(dim,)``.

    Raises:
        InputError: It is not a list of finite numbers.
    """
    try:
        array = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the query vector cannot be read as numbers: {error}") from error
    if array.ndim != 1 or not array.size:
        raise InputError(
            f"the query vector has shape {array.shape}", hint="Give one list of finite numbers."
        )
    if not np.isfinite(array).all():
        raise InputError("the query vector holds NaN or infinity, expected finite numbers")
    return array
