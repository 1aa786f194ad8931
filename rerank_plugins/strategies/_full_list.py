"""All candidates in one prompt of a long context."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..calls import Identifier, LabelLogprobs, NextToken, Plan, Prompt
from ..errors import InputError
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, Strategy, input_order
from ..text import Passage, labels
from ._listwise import Permutation, check_identifiers, fitted, label_scores
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

    A window that slides asks about most passages twice; a model with a long context that was
    trained for it needs one question. Without such training, windows are better.

    Args:
        read: ``"written"``: the model writes the permutation, as RankMistral100 does.
            ``"constrained"``: each step asks for the next identifier among those that are left, so
            that nothing can be malformed. ``"single-token"``: the log-probabilities of all
            identifiers in the first step order the list: one forward pass, nothing generated.
        prompt: A listwise prompt or its versioned name; by default ``rankmistral100.v1`` for a
            written answer, else ``full-list-tokens.v1``, whose identifiers are single tokens that
            the backend picks.
        top_m: Stop after this many identifiers; the others follow in their input order. A RAG
            pipeline needs its ``top_k`` and not the whole permutation. Not for ``"single-token"``.

    Raises:
        InputError: An argument is out of range or does not go with ``read``.

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

    def __post_init__(self) -> None:
        if self.read not in _PROMPTS:
            raise InputError(f"read is {self.read!r}, expected one of {sorted(_PROMPTS)}")
        if self.read == "single-token" and self.top_m is not None:
            raise InputError("top_m saves nothing where one step orders the whole list")
        if self.prompt is None:
            object.__setattr__(self, "prompt", _PROMPTS[self.read])
        self._strategy()

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the question about the whole list."""
        return (yield from self._strategy().rank(query, passages))

    def _strategy(self) -> Strategy:
        prompt = self.prompt or _PROMPTS[self.read]  # never None, which only mypy cannot see
        if self.read == "written":
            return Permutation(prompt=prompt, top_m=self.top_m)
        if self.read == "constrained":
            return ConstrainedPermutation(prompt=prompt, top_m=self.top_m)
        return SingleToken(prompt=prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstrainedPermutation:
    """Build the permutation identifier by identifier, each the likeliest of those that are left.

    The answer can only be a permutation: there is nothing to parse or to repair. Where a greedy
    answer would have been well-formed, it is the same. One call an identifier, one after the other;
    a server with a prefix cache computes the passages once.

    Args:
        prompt: A listwise prompt with letters or tokens, or its versioned name.
        top_m: Stop after this many; the others follow in their input order. All when None.

    Raises:
        InputError: ``top_m`` is not positive, or there are more passages than identifiers.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> Reranker(ConstrainedPermutation(), by_length).rank("q", ["a", "abc", "ab"]).order
        (1, 2, 0)
    """

    prompt: str | ListwisePrompt = "full-list-tokens.v1"
    top_m: int | None = None

    def __post_init__(self) -> None:
        require(self.prompt, ListwisePrompt)
        if self.top_m is not None and self.top_m < 1:
            raise InputError(f"top_m is {self.top_m}, expected at least 1")

    @property
    def max_passages(self) -> int | None:
        """As for `SingleToken`."""
        return SingleToken(prompt=self.prompt).max_passages

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan one call an identifier; the last one needs none."""
        template = require(self.prompt, ListwisePrompt)
        n = len(passages)
        if n < 2:
            return input_order(n)
        check_identifiers(template, n)
        order: list[int] = []
        report = Report()
        for _ in range(min(self.top_m or n, n - 1)):
            left = [i for i in range(n) if i not in order]
            chosen, step = yield from self._next(template, query, passages, order, left)
            order.append(chosen)
            report += step
        return Ranking((*order, *(i for i in range(n) if i not in order)), report=report)

    def _next(
        self,
        template: ListwisePrompt,
        query: str,
        passages: Sequence[str],
        order: Sequence[int],
        left: Sequence[int],
    ) -> Plan[tuple[int, Report]]:
        """The likeliest identifier of those that are left."""
        names = template.names(len(passages))
        wanted = tuple(names[i] for i in left)

        def call(prompt: Prompt) -> NextToken:
            return NextToken(_continued(prompt, template, order), wanted)

        found = yield from fitted(template, query, passages, call)
        scores = label_scores(found.answer, wanted)
        best = max(range(len(left)), key=lambda k: scores[k])  # the first of equal ones
        unseen = _unseen(found.answer, wanted)
        return left[best], Report(unseen_labels=unseen, truncated=found.cut)


def _unseen(answer: LabelLogprobs, names: Sequence[str]) -> int:
    return sum(name not in answer.seen for name in names)


def _continued(prompt: Prompt, template: ListwisePrompt, order: Sequence[int]) -> Prompt:
    """The prompt after an answer that began with ``order``: ``[C] > [A] > [``."""
    names = labels(template.alphabet, max(order, default=-1) + 1)
    written: list[str | Identifier] = [template.prefill]
    for i in order:
        name = Identifier(i) if template.alphabet == "tokens" else names[i]
        written += [template.before_label, name, "] > ["]
    return replace(prompt, prefill=tuple(part for part in written if part))
