"""Schedules that rank windows side by side: fewer rounds than a window that slides."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from .._checks import at_least
from ..calls import Plan
from ..plans import gather
from ..ranking import Cost, Ranking, Strategy
from ..text import Passage
from ._sliding_window import WindowRanker, check_window


def deal(items: Sequence[int], size: int) -> list[list[int]]:
    """Deal items into groups of at most ``size``, like cards: each group gets good and bad ones.

    Examples:
        >>> deal(range(5), 2)
        [[0, 3], [1, 4], [2]]
    """
    groups = -(-len(items) // size)
    return [list(items[i::groups]) for i in range(groups)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopDown:
    """Rank windows of the whole list in one round, then the best of each against each other.

    The list is dealt into windows, all ranked at once. A final window then ranks the best of each.
    Its order is settled down to the place where a passage that it did not show could come next;
    those passages join the next final. With a model that is always right the first ``top_m`` places
    are exactly right, in two or three rounds for 100 passages where a sliding window takes nine,
    and with two thirds of its tokens. Below ``top_m``, passages are in the order of their places in
    their own windows, which is coarse.

    Lists that fit one window are answered by ``inner`` itself, scores included; longer ones get
    scores of kind ``"rank"``.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 4.
        top_m: The number of places at the top that must be right.

    Raises:
        InputError: ``size`` or ``top_m`` is out of range.

    References:
        The first two rounds: Parry et al., Top-Down Partitioning for Efficient List-Wise Ranking,
        arXiv:2405.14589, 2024. The rule for what is settled is this library's own.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Oracle
        >>> hundred = list(map(str, range(100)))
        >>> ranking = Reranker(TopDown(SingleToken()), Oracle()).rank("q", hundred)
        >>> ranking.usage.calls, ranking.usage.batches
        (6, 2)
    """

    inner: Strategy = field(kw_only=False)
    size: int = 20
    top_m: int = 10

    def __post_init__(self) -> None:
        check_window(self.inner, self.size)
        at_least(4, size=self.size)
        at_least(1, top_m=self.top_m)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the windows, then the finals."""
        return WindowRanker(self.inner, query, passages).ranking(self.size, self._order)

    def _order(self, ranker: WindowRanker) -> Plan[Sequence[int]]:
        n = len(ranker.passages)
        lists = yield from gather([ranker.best_first(g) for g in deal(range(n), self.size)])
        places = {i: place for items in lists for place, i in enumerate(items)}
        while len(lists) > 1:
            some = [lists[i : i + self._fan_in] for i in range(0, len(lists), self._fan_in)]
            lists = yield from gather([self._merged(ranker, places, few) for few in some])
        return lists[0]

    def cost(self, n: int) -> Cost:
        """The most windows that a list of ``n`` can need, and the most rounds.

        Which of the finals are needed depends on the answers.

        Examples:
            >>> from rerank_plugins.strategies import SingleToken
            >>> TopDown(SingleToken()).cost(100)
            Cost(calls=7, depth=3)
        """
        if n <= self.size:
            return Cost(int(n > 1), int(n > 1))
        lists = -(-n // self.size)
        calls, depth = sum(len(g) > 1 for g in deal(range(n), self.size)), 1
        while True:
            groups = [min(self._fan_in, lists - i) for i in range(0, lists, self._fan_in)]
            rounds = [self._most_rounds(g) for g in groups if g > 1]
            calls, depth = calls + sum(rounds), depth + max(rounds)
            lists = len(groups)
            if lists == 1:
                return Cost(calls, depth)

    @property
    def _fan_in(self) -> int:
        """The number of lists that one merge takes: few enough that each shows several passages."""
        return max(2, self.size // 4)

    def _most_rounds(self, lists: int) -> int:
        """The most finals that merging so many lists can take."""
        share = self.size // lists  # the first final shows so many of each list
        left = self.top_m - share  # and settles at least as many places
        if left <= 0:
            return 1
        # Going down its order, the k-th list to run out has k * share passages before its next one,
        # so it can add top_m - k * share. A second final is the last one if all of these fit.
        second = left + sum(max(0, self.top_m - k * share) for k in range(1, lists + 1))
        if left <= self.size // 2 and second <= self.size:
            return 2
        # Each further final shows at least so many of each list, and settles as many places.
        fewest = max(1, (self.size - self.size // 2) // lists)
        return 1 + -(-left // fewest)

    def _merged(
        self, ranker: WindowRanker, places: Mapping[int, int], lists: Sequence[Sequence[int]]
    ) -> Plan[list[int]]:
        """Merge sorted lists: the first ``top_m`` places by finals, the others by ``places``.

        Invariant: ``settled`` is the beginning of the merged list. The passages of ``tail`` follow
        in this order, but others, which are in neither, may belong between them.
        """
        if len(lists) == 1:
            return list(lists[0])
        settled, tail = list[int](), list[int]()
        while (wanted := self.top_m - len(settled)) > 0:
            heads, ends = _next_heads(lists, settled, tail, wanted, self.size)
            if not heads:  # nothing else can come before the passages of `tail`
                settled, tail = settled + tail, []
                break
            ranked = yield from ranker.best_first(sorted(tail[:wanted] + heads))
            # A list continues somewhere after its end, so the order is certain down to the first
            # end, and not below. Below `wanted` places, any list may continue.
            certain = next((k for k, i in enumerate(ranked, start=1) if i in ends), len(ranked))
            certain = min(certain, wanted)
            settled, tail = settled + ranked[:certain], ranked[certain:][: self.size // 2]
        # By place in their first windows, then by position; `tail` keeps its order.
        rest = {i for items in lists for i in items} - {*settled, *tail}
        keyed = [((places[i], i), i) for i in rest]
        keyed += zip(accumulate(((places[i], i) for i in tail), max), tail, strict=True)
        return settled + [i for _, i in sorted(keyed, key=lambda pair: pair[0])]


def _next_heads(
    lists: Sequence[Sequence[int]],
    settled: Sequence[int],
    tail: Sequence[int],
    wanted: int,
    size: int,
) -> tuple[list[int], set[int]]:
    """The passages that sorted lists add to ``tail`` in the next final, and the ends of lists.

    What a list adds comes after all of its own in ``tail``, so it can add no more than these leave
    free of the ``wanted`` places. Lists add one passage each in turn until the window is full. The
    end of a list that could add more is the last one it added. Every such list adds at least one:
    ``tail`` takes at most half of a window, and there are at most half as many lists as places.
    """
    useful = []
    for items in lists:
        free = wanted - max((tail.index(i) + 1 for i in items if i in tail), default=0)
        unknown = [i for i in items if i not in settled and i not in tail]
        useful.append(unknown[: max(0, free)])
    room = size - len(tail[:wanted])
    turns = sorted((turn, k) for k, items in enumerate(useful) for turn in range(len(items)))
    added = Counter(k for _, k in turns[:room])
    heads = [i for k, items in enumerate(useful) for i in items[: added[k]]]
    ends = {items[added[k] - 1] for k, items in enumerate(useful) if added[k] < len(items)}
    return heads, ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """Knock out the lower half of every window, round by round, until one window is left.

    All windows of a round are ranked at once. A passage that is among the best ``size // 2`` of the
    list can never be knocked out by a model that is always right. What was knocked out follows: the
    later, the higher.

    Lists that fit one window are answered by ``inner`` itself, scores included; longer ones get
    scores of kind ``"rank"``.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 2.

    Raises:
        InputError: ``size`` is out of range.

    References:
        Chen et al., TourRank, arXiv:2406.11678, 2024 (which repeats tournaments over shuffled
        lists: `Consensus` around this).

    Examples:
        >>> from rerank_plugins.strategies import SingleToken
        >>> Tournament(SingleToken()).cost(100)
        Cost(calls=11, depth=4)
    """

    inner: Strategy = field(kw_only=False)
    size: int = 20

    def __post_init__(self) -> None:
        check_window(self.inner, self.size)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the rounds."""
        return WindowRanker(self.inner, query, passages).ranking(self.size, self._order)

    def _order(self, ranker: WindowRanker) -> Plan[Sequence[int]]:
        n = len(ranker.passages)
        left, lost = list(range(n)), list[int]()
        while len(left) > self.size:
            ranked = yield from gather([ranker.best_first(g) for g in deal(left, self.size)])
            places = {i: place for group in ranked for place, i in enumerate(group)}
            by_place = sorted(left, key=lambda i: (places[i], i))
            lost = [i for i in by_place if places[i] >= self._kept] + lost
            # In the retriever's order again, so that the next deal spreads good and bad.
            left = [i for i in left if places[i] < self._kept]
        order = yield from ranker.best_first(left)
        return order + lost

    def cost(self, n: int) -> Cost:
        """The windows and rounds of a list of ``n``."""
        calls = depth = 0
        while n > self.size:
            groups = [len(g) for g in deal(range(n), self.size)]
            calls, depth = calls + sum(g > 1 for g in groups), depth + 1
            n = sum(min(g, self._kept) for g in groups)
        return Cost(calls + int(n > 1), depth + int(n > 1))

    @property
    def _kept(self) -> int:
        return max(1, self.size // 2)
