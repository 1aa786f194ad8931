"""Schedules that rank windows side by side: fewer rounds than a window that slides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..calls import Plan
from ..errors import InputError
from ..plans import gather
from ..ranking import Cost, Ranking, Report, Strategy, input_order
from ..text import Passage
from ._windows import check_window


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

    The list is dealt into windows, all ranked at once. A final window holds the best of each. As
    far down as the best that a window has left could still come before, its order is settled; then
    the next ones join. With a model that is always right the first ``top_m`` places are exactly
    right, in two or three rounds for 100 passages where a sliding window takes nine, and with two
    thirds of its tokens. Below ``top_m`` passages are in the order of their places in their own
    windows, which is coarse.

    Lists that fit one window are answered by ``inner`` itself, scores included; longer ones get
    scores of kind ``"rank"``.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 4.
        top_m: How many places at the top are to be right.

    Raises:
        InputError: ``size`` or ``top_m`` is out of range.

    References:
        The first two rounds: Parry et al., Top-Down Partitioning for Efficient List-Wise Ranking,
        arXiv:2405.14589, 2024. The rule for what is settled is our own.

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
        if self.size < 4:
            raise InputError(f"the window size is {self.size}, expected at least 4")
        if self.top_m < 1:
            raise InputError(f"top_m is {self.top_m}, expected at least 1")

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the windows, then the finals."""
        n = len(passages)
        if n < 2:
            return input_order(n)
        if n <= self.size:
            return (yield from self.inner.rank(query, passages))
        window = _Windows(self.inner, query, passages)
        lists = yield from gather([window.best(g) for g in deal(range(n), self.size)])
        window.places = {i: place for items in lists for place, i in enumerate(items)}
        while len(lists) > self._fan_in:
            some = range(0, len(lists), self._fan_in)
            merging = [self._merged(window, lists[i : i + self._fan_in]) for i in some]
            lists = yield from gather(merging)
        order = yield from self._merged(window, lists)
        return Ranking(tuple(order), report=window.report)

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
        """How many lists a final merges: few enough that each shows several passages."""
        return max(2, self.size // 4)

    def _most_rounds(self, lists: int) -> int:
        """The most finals that merging so many lists can take."""
        share = self.size // lists  # so many of each list are in the first final
        left = self.top_m - share  # and so many places, at least, are settled by it
        if left <= 0:
            return 1
        # The k-th list to run out has k * share passages above what it could still add.
        late = left + sum(max(0, self.top_m - k * share) for k in range(1, lists + 1))
        if left <= self.size // 2 and late <= self.size:
            return 2
        return 1 + -(-left // max(1, (self.size - self.size // 2) // lists))

    def _merged(self, window: "_Windows", lists: Sequence[Sequence[int]]) -> Plan[list[int]]:
        """Merge sorted lists: settle the first ``top_m`` places, then go by place in the list."""
        if len(lists) == 1:
            return list(lists[0])
        settled, tail = list[int](), list[int]()  # in their final order; known to come next
        while len(settled) < self.top_m:
            wanted = self.top_m - len(settled)
            shown = _next(lists, settled, tail, wanted, self.size)
            if not any(shown.values()):
                settled, tail = settled + tail, []
                break
            heads = [i for items in shown.values() for i in items]
            ranked = yield from window.best(sorted(tail[:wanted] + heads))
            # Nothing below the last passage that such a list has shown is certain: its next one
            # was not there.
            ends = {
                shown[k][-1]
                for k in shown
                if len(shown[k]) < _useful(lists[k], settled, tail, wanted)
            }
            sure = next((k + 1 for k, i in enumerate(ranked) if i in ends), len(ranked))
            sure = min(sure, wanted)  # a list that showed that many may hold the next one
            settled, tail = settled + ranked[:sure], ranked[sure:][: self.size // 2]
        rest = {i for items in lists for i in items} - {*settled, *tail}
        return settled + _interleaved(tail, rest, window.places)


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
        n = len(passages)
        if n < 2:
            return input_order(n)
        if n <= self.size:
            return (yield from self.inner.rank(query, passages))
        window = _Windows(self.inner, query, passages)
        left, out = list(range(n)), list[int]()
        while len(left) > self.size:
            ranked = yield from gather([window.best(g) for g in deal(left, self.size)])
            out = _by_place([group[self._kept :] for group in ranked]) + out
            # In the retriever's order again, so that the next deal spreads good and bad.
            left = sorted(i for group in ranked for i in group[: self._kept])
        order = yield from window.best(left)
        return Ranking(tuple(order + out), report=window.report)

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


@dataclass(slots=True)
class _Windows:
    """Ranks windows of one list and gathers their reports. Lives for one plan."""

    inner: Strategy
    query: str
    passages: Sequence[Passage]
    report: Report = field(default_factory=Report)
    places: dict[int, int] = field(default_factory=dict)  # of each passage in its first window

    def best(self, positions: Sequence[int]) -> Plan[list[int]]:
        """These positions, best first. One alone is no question."""
        if len(positions) < 2:
            return list(positions)
        texts = [self.passages[i] for i in positions]
        ranking = yield from self.inner.rank(self.query, texts)
        self.report += ranking.report.mapped(positions)
        return [positions[j] for j in ranking.order]


def _useful(items: Sequence[int], settled: Sequence[int], tail: Sequence[int], wanted: int) -> int:
    """How many more of a sorted list can be among the next ``wanted``.

    Its next passage comes after the last one that is in ``tail``.
    """
    left = len([i for i in items if i not in settled and i not in tail])
    above = max((tail.index(i) + 1 for i in items if i in tail), default=0)
    return min(left, max(0, wanted - above))


def _next(
    lists: Sequence[Sequence[int]],
    settled: Sequence[int],
    tail: Sequence[int],
    wanted: int,
    size: int,
) -> dict[int, list[int]]:
    """What each sorted list shows beside ``tail`` in the next window: its heads, in turn."""
    useful = [_useful(items, settled, tail, wanted) for items in lists]
    taken = [0] * len(lists)
    for _ in range(size - len(tail[:wanted])):
        more = [k for k in range(len(lists)) if taken[k] < useful[k]]
        if more:
            taken[min(more, key=lambda k: taken[k])] += 1
    left = [[i for i in items if i not in settled and i not in tail] for items in lists]
    return {k: left[k][: taken[k]] for k in range(len(lists)) if taken[k]}


def _interleaved(tail: Sequence[int], rest: Iterable[int], places: Mapping[int, int]) -> list[int]:
    """Passages by place in their first windows, then by position; ``tail`` keeps its order."""
    keys = [((places[i], i), i) for i in rest]
    lowest = (0, 0)
    for i in tail:
        lowest = max(lowest, (places[i], i))
        keys.append((lowest, i))
    return [i for _, i in sorted(keys, key=lambda pair: pair[0])]


def _by_place(lists: Sequence[Sequence[int]]) -> list[int]:
    """Sorted lists as one: by place in the own list, then by position."""
    placed = [(place, i) for items in lists for place, i in enumerate(items)]
    return [i for _, i in sorted(placed)]
