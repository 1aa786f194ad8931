"""All candidates in one prompt of a long context."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .._checks import flag, one_of
from ..calls import Plan
from ..errors import InputError
from ..prompts import ListwisePrompt
from ..ranking import Ranking, Strategy
from ..text import Passage
from ._permutation import ConstrainedPermutation, Permutation
from ._single_token import SingleToken

Read = Literal["written", "constrained", "single-token"]
_PROMPTS: dict[Read, str] = {
    "written": "rankmistral100.v1",
    "constrained": "full-list-tokens.v1",
    "single-token": "full-list-tokens.v1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FullList:
    """Put the whole list into one prompt, and read its order in one of three ways.

    A sliding window asks about most passages twice; a model with a long context that was trained
    for it needs one question. Without such training, windows are better.

    Args:
        read: ``"written"``: the model writes the permutation, as RankMistral100 does.
            ``"constrained"``: each step asks for the next of the remaining identifiers, so that
            the answer cannot be malformed. ``"single-token"``: the log-probabilities of all
            identifiers in the first step order the list: one forward pass, nothing generated.
        prompt: A listwise prompt or its versioned name; by default ``rankmistral100.v1`` for a
            written answer, else ``full-list-tokens.v1``, whose identifiers are single tokens that
            the backend picks.
        top_m: Stop after this many identifiers; the others follow in their input order. A RAG
            pipeline needs its ``top_k`` and not the whole permutation. Not for ``"single-token"``.
        allow_none: Whether the model may say that no passage is relevant, as for `Permutation`. For
            ``"written"`` alone.

    Raises:
        InputError: An argument is out of range or cannot be combined with ``read``.

    References:
        Liu et al., Sliding Windows Are Not the End, arXiv:2412.14574, 2024.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> best_last = Oracle(key=lambda query, passage: float(passage))
        >>> hundred = list(map(str, range(100)))
        >>> ranking = Reranker(FullList(read="single-token"), best_last).rank("q", hundred)
        >>> ranking.order[:3], ranking.usage.calls, ranking.usage.generated_tokens
        ((99, 98, 97), 1, 0)
    """

    read: Read = "written"
    prompt: str | ListwisePrompt | None = None
    top_m: int | None = None
    allow_none: bool = False

    def __post_init__(self) -> None:
        one_of("read", self.read, _PROMPTS)
        if self.read == "single-token" and self.top_m is not None:
            raise InputError(
                f"top_m is {self.top_m} and read 'single-token', which orders the whole list in "
                "one step",
                hint="Leave top_m out.",
            )
        flag(allow_none=self.allow_none)
        if self.allow_none and self.read != "written":
            raise InputError(
                f"allow_none needs an answer in words, and read is {self.read!r}",
                hint='Use read="written".',
            )
        if self.prompt is None:
            object.__setattr__(self, "prompt", _PROMPTS[self.read])
        self._strategy()

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the question about the whole list."""
        return (yield from self._strategy().rank(query, passages))

    def _strategy(self) -> Strategy:
        prompt = self.prompt or _PROMPTS[self.read]  # never None here; only mypy cannot see it
        if self.read == "written":
            return Permutation(prompt=prompt, top_m=self.top_m, allow_none=self.allow_none)
        if self.read == "constrained":
            return ConstrainedPermutation(prompt=prompt, top_m=self.top_m)
        return SingleToken(prompt=prompt)
