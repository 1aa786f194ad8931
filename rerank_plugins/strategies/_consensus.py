"""Several runs of one strategy, over the list in different orders."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .._checks import at_least
from ..calls import Plan
from ..plans import gather
from ..ranking import Ranking, Report, Strategy, check_inner, input_order
from ..text import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """Rank the list in several orders and take the mean of the places, which averages errors out.

    A listwise model's answer depends on the order it is shown. The list is ranked as it is, and in
    shuffled orders that come in pairs, one the reverse of the other, so that a bias for the first
    or the last place cancels. All passes run side by side. Scores are of kind ``"rank"``.

    Args:
        inner: The strategy that ranks each order.
        passes: The number of orders.
        seed: The seed of the shuffles.

    Raises:
        InputError: ``passes`` is not positive, or ``inner`` is not a strategy.

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
        at_least(1, passes=self.passes)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan all passes side by side."""
        n = len(passages)
        if n < 2:
            return (yield from self.inner.rank(query, passages)) if n else input_order(0)
        shuffled, order = random.Random(self.seed), list(range(n))  # noqa: S311 - not for secrets
        orders = [list(order)] if self.passes % 2 else []
        while len(orders) < self.passes:
            if orders:
                shuffled.shuffle(order)
            orders += [list(order), order[::-1]]
        plans = [self.inner.rank(query, [passages[i] for i in order]) for order in orders]
        rankings = yield from gather(plans)
        places, report, irrelevant = [0] * n, Report(), frozenset(range(n))
        for order, ranking in zip(orders, rankings, strict=True):
            own = ranking.report.mapped(order)
            report, irrelevant = report + own, irrelevant & own.irrelevant
            for place, j in enumerate(ranking.order):
                places[order[j]] += place
        report = replace(report, irrelevant=irrelevant)  # where every pass says so
        return Ranking(tuple(sorted(range(n), key=lambda i: places[i])), report=report)
