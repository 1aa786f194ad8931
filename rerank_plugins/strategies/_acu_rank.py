"""Windows of the passages of which it is not yet known whether they are among the best."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .._checks import at_least
from ..calls import Plan
from ..errors import InputError
from ..plans import gather
from ..ranking import Ranking, Strategy
from ..text import Passage
from ._ratings import Rating, threshold_of, updated
from ._schedules import deal
from ._sliding_window import WindowRanker, check_window


@dataclass(frozen=True, slots=True, kw_only=True)
class AcuRank:
    """Rank again only those passages that may or may not be among the best.

    Every passage has a rating: a normal distribution, whose mean first falls with its place in the
    list. The first round ranks all passages, each later one those for which the probability of
    being among the best ``top_m`` is neither near 0 nor near 1, in windows side by side, and
    updates the ratings by TrueSkill. When fewer than ``top_m`` are left, a last round ranks all
    that may be among the best. How many windows a query needs depends on the answers.

    Lists that fit one window are answered by ``inner`` itself, scores included; longer ones get
    scores of kind ``"rank"``. Where every window keeps its order, so does the list.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 2.
        top_m: The number of places at the top that matter.
        tolerance: How near to 0 or 1 a probability must be to count as sure, above 0 and below 0.5.
        max_calls: No further round begins after so many windows; the last round is still made.

    Raises:
        InputError: A number is out of range, or ``inner`` is not a strategy.

    References:
        Yoon et al., AcuRank, arXiv:2505.18512, 2025. Its ratings begin with the first stage's
        scores, and a window has neighbours by rating. Here they begin with places, because scores
        have any scale, and the list is dealt into windows like cards, which takes fewer of them.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Oracle
        >>> best_last = Oracle(key=lambda query, passage: float(passage))
        >>> hundred = list(map(str, range(100)))
        >>> ranking = Reranker(AcuRank(SingleToken()), best_last).rank("q", hundred)
        >>> ranking.order[:3], ranking.usage.calls, ranking.usage.batches
        ((99, 98, 97), 14, 7)
    """

    inner: Strategy = field(kw_only=False)
    size: int = 20
    top_m: int = 10
    tolerance: float = 0.01
    max_calls: int = 100

    def __post_init__(self) -> None:
        check_window(self.inner, self.size)
        at_least(1, top_m=self.top_m, max_calls=self.max_calls)
        at_least(0.0, tolerance=self.tolerance)
        if not 0 < self.tolerance < 0.5:
            raise InputError(
                f"tolerance is {self.tolerance}, expected a number above 0 and below 0.5"
            )

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the rounds, until it is known which passages are the best."""
        return WindowRanker(self.inner, query, passages).ranking(self.size, self._order)

    def _order(self, ranker: WindowRanker) -> Plan[Sequence[int]]:
        n = len(ranker.passages)
        usual = Rating()
        ratings = [
            Rating(usual.mean + usual.deviation * (0.5 - i / (n - 1)), usual.deviation)
            for i in range(n)
        ]
        windows = list[list[int]]()
        while True:
            threshold = threshold_of(ratings, min(self.top_m, n))
            chances = [rating.above(threshold) for rating in ratings]
            # A place in the list alone makes nothing sure.
            likely = [i for i, p in enumerate(chances) if not windows or p > self.tolerance]
            unsure = [i for i in likely if not windows or chances[i] < 1 - self.tolerance]
            last = len(unsure) < max(2, self.top_m) or len(windows) >= self.max_calls
            asked = likely if last else unsure
            parts = deal(sorted(asked, key=lambda i: (-ratings[i].mean, i)), self.size)
            ranked = yield from gather([ranker.best_first(sorted(part)) for part in parts])
            windows += ranked
            for items in ranked:
                for i, rating in zip(items, updated([ratings[i] for i in items]), strict=True):
                    ratings[i] = rating
            if last:
                break
        if all(items == sorted(items) for items in windows):
            return range(n)
        top = ranked[0] if len(ranked) == 1 else []
        rest = sorted(set(range(n)).difference(top), key=lambda i: (-ratings[i].mean, i))
        return [*top, *rest]
