"""Reranking of a list's beginning alone, and only where it can matter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .._checks import at_least, positive
from ..calls import Plan
from ..ranking import Ranking, Report, Strategy, check_inner, input_order
from ..text import Passage, direction_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Rank the first ``n`` passages; the others follow in their order.

    Lists of at most ``n`` are answered by ``inner`` itself, scores included; longer ones get scores
    of kind ``"rank"``.

    Args:
        inner: Ranks the first passages.
        n: The number of passages that it gets, at least 1.

    Raises:
        InputError: ``n`` is not positive, or ``inner`` is not a strategy.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> Reranker(Head(PairScore(), n=2), by_length).rank("q", ["a", "ab", "abc"]).order
        (1, 0, 2)
    """

    inner: Strategy = field(kw_only=False)
    n: int = 20

    def __post_init__(self) -> None:
        check_inner(self.inner)
        at_least(1, n=self.n)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of the first passages."""
        ranking = yield from self.inner.rank(query, passages[: self.n])
        if len(passages) <= self.n:
            return ranking
        return Ranking(
            (*ranking.order, *range(self.n, len(passages))),
            report=ranking.report,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Rank only where the first stage is not sure; elsewhere its order stays and costs nothing.

    The first stage is taken to be sure where its best passage stands out: by its scores, the
    `margin_of` the list is at least ``margin``. The order then stays, and `Report.skipped` counts
    it. ``rerank-plugins tune`` finds the margin that leaves out a given share of a collection's
    queries, and says what that costs.

    A list has no margin where a passage has no score, where the scores do not fall along it, or
    where it has fewer than three passages. Such a list is always ranked, and if it is for want of
    scores, `Report.unscored` names the passages.

    Args:
        inner: Ranks the others.
        margin: From which margin on nothing is ranked, above 0. At most 1 can be reached.

    Raises:
        InputError: ``margin`` is not positive, or ``inner`` is not a strategy.

    Examples:
        >>> from rerank_plugins import Passage, Reranker
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> reranker = Reranker(When(PairScore(), margin=0.5), Oracle())
        >>> clear = [Passage("a", score=9.0), Passage("b", score=2.0), Passage("c", score=1.0)]
        >>> ranking = reranker.rank("q", clear)
        >>> ranking.order, ranking.usage.calls, ranking.report.skipped
        ((0, 1, 2), 0, 1)
    """

    inner: Strategy = field(kw_only=False)
    margin: float = 0.2

    def __post_init__(self) -> None:
        check_inner(self.inner)
        positive(margin=self.margin)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of ``inner``, or none."""
        n = len(passages)
        scores = [Passage.of(passage).score for passage in passages]
        margin = margin_of(scores)
        if margin is not None and margin >= self.margin:
            return input_order(n, report=Report(skipped=1))
        ranking = yield from self.inner.rank(query, passages)
        without = [i for i, score in enumerate(scores) if score is None or not math.isfinite(score)]
        if not without:
            return ranking
        return replace(ranking, report=ranking.report + Report(unscored=frozenset(without)))


def margin_of(scores: Sequence[float | None]) -> float | None:
    """The share of a list's range of scores that lies between its first and its second one.

    Args:
        scores: Of a first stage, higher is better, best first.

    Returns:
        ``(s1 - s2) / (s1 - sn)``, from 0 to 1; None for fewer than three scores, if one is missing,
        or if they do not fall along the list.

    Examples:
        >>> margin_of([9.0, 5.0, 1.0]), margin_of([9.0, None, 1.0]), margin_of([1.0, 5.0, 9.0])
        (0.5, None, None)
    """
    known = [score for score in scores if score is not None]
    if len(known) < 3 or direction_of(scores) != "similarity":
        return None
    return (known[0] - known[1]) / (known[0] - known[-1])
