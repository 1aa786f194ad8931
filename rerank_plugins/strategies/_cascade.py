"""Strategies of several strategies, or of several runs of one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..calls import Plan
from ..errors import InputError
from ..plans import gather
from ..ranking import Ranking, Strategy, check_inner, input_order
from ..text import Passage
from ._attempt import Attempt, attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Rank everything with a cheap strategy, and the best of it again with a dear one.

    Where the two need different models, give the reranker a `Routed` backend. Scores are of kind
    ``"rank"``, unless the second stage covers the whole list.

    Args:
        first: Ranks the whole list.
        then: Ranks the best of it again.
        depth: How many passages the second stage gets.

    Raises:
        InputError: ``depth`` is not positive, or a stage is not a strategy.

    References:
        Abdallah et al., DeAR, arXiv:2508.16998, 2025: pointwise over 100, then listwise reasoning
        over 30.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import PairScore, Permutation
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> cascade = Cascade(first=PairScore(), then=Permutation(), depth=2)
        >>> Reranker(cascade, by_length).rank("q", ["a", "abc", "ab"]).order
        (1, 2, 0)
    """

    first: Strategy
    then: Strategy
    depth: int = 30

    def __post_init__(self) -> None:
        check_inner(self.first)
        check_inner(self.then)
        if self.depth < 1:
            raise InputError(f"depth is {self.depth}, expected at least 1")

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the first stage, then the second."""
        return (yield from self.attempt(query, passages)).result()

    def attempt(self, query: str, passages: Sequence[Passage]) -> Plan[Attempt]:
        """`rank`, or what the stages know where a call failed."""
        known = yield from attempt(self.first, query, passages)
        if known.error is not None or len(passages) < 2:
            return known
        coarse = known.ranking
        best, rest = coarse.order[: self.depth], coarse.order[self.depth :]
        fine = yield from attempt(self.then, query, [passages[i] for i in best])
        return Attempt(_after(best, rest, fine.ranking, coarse), fine.error)


def _after(best: Sequence[int], rest: Sequence[int], fine: Ranking, coarse: Ranking) -> Ranking:
    """The second stage's order of the best, and the first's of the rest."""
    order = (*(best[j] for j in fine.order), *rest)
    report = coarse.report + fine.report.mapped(best)
    if rest:
        return Ranking(order, report=report)
    return Ranking(order, fine.scores, fine.score_kind, report=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """Rank the list in several orders and take the mean of the places: what is left is no accident.

    A listwise model's answer depends on the order it is shown. The list is ranked as it is, and in
    shuffled orders that come in pairs, one the reverse of the other, so that a liking for the
    first or the last place cancels. All passes run side by side. Scores are of kind ``"rank"``.

    Args:
        inner: What ranks each order.
        passes: How many orders.
        seed: Of the shuffles.

    Raises:
        InputError: ``passes`` is not positive.

    References:
        Tang et al., Found in the Middle: Permutation Self-Consistency, arXiv:2310.07712, 2023.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> ranking = Reranker(Consensus(SingleToken()), by_length).rank("q", ["a", "abc", "ab"])
        >>> ranking.order, ranking.usage.calls, ranking.usage.batches
        ((1, 2, 0), 3, 1)
    """

    inner: Strategy = field(kw_only=False)
    passes: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        check_inner(self.inner)
        if self.passes < 1:
            raise InputError(f"passes is {self.passes}, expected at least 1")

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan all passes side by side."""
        n = len(passages)
        if n < 2:
            return (yield from self.inner.rank(query, passages)) if n else input_order(0)
        orders = self._orders(n)
        inputs = [[passages[i] for i in order] for order in orders]
        plans = [self.inner.rank(query, texts) for texts in inputs]
        rankings = yield from gather(plans)
        places, report = [0] * n, rankings[0].report
        for order, ranking in zip(orders, rankings, strict=True):
            for place, j in enumerate(ranking.order):
                places[order[j]] += place
        for order, ranking in zip(orders[1:], rankings[1:], strict=True):
            report += ranking.report.mapped(order)
        return Ranking(tuple(sorted(range(n), key=lambda i: places[i])), report=report)

    def _orders(self, n: int) -> list[list[int]]:
        """The input order where the number is odd, and pairs of an order and its reverse."""
        shuffled = random.Random(self.seed)  # noqa: S311 - not for secrets
        order = list(range(n))
        found = [list(order)] if self.passes % 2 else []
        while len(found) < self.passes:
            if found:
                shuffled.shuffle(order)
            found += [list(order), order[::-1]]
        return found
