"""Windows of the passages whose places do not follow from earlier windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .._checks import at_least
from ..calls import Plan
from ..plans import gather
from ..ranking import Ranking, Strategy
from ..text import Passage
from ._aggregation import copeland
from ._sliding_window import WindowRanker, check_window


@dataclass(frozen=True, slots=True, kw_only=True)
class BlitzRank:
    """Ask only for what does not follow from earlier answers, until the best ``top_m`` are known.

    A window says of each two of its passages which is better, and with those of other windows this
    tells more: what is better than a better one is better. Passages that contradicting answers put
    above and below each other are level, and count as one. The next window has, of the passages
    that are not yet above, below or level with every other, those with the fewest above them. When
    the first ``top_m`` are certain, the schedule ends: with a model that is always right they are
    exactly right. How many windows it takes depends on the answers.

    Level passages are ordered by the number of each other that they beat. Below ``top_m``, what no
    answer decides is in the input's order. Lists that fit one window are answered by ``inner``
    itself, scores included; longer ones get scores of kind ``"rank"``.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 2.
        top_m: The number of places at the top that must be certain.

    Raises:
        InputError: A number is out of range, or ``inner`` is not a strategy.

    References:
        BlitzRank, arXiv:2602.05448, 2026. It asks one window after the other; those that do not
        depend on each other, the first ones, are asked together here.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Oracle
        >>> best_last = Oracle(key=lambda query, passage: float(passage))
        >>> hundred = list(map(str, range(100)))
        >>> ranking = Reranker(BlitzRank(SingleToken()), best_last).rank("q", hundred)
        >>> ranking.order[:3], ranking.usage.calls, ranking.usage.batches
        ((99, 98, 97), 7, 3)
    """

    inner: Strategy = field(kw_only=False)
    size: int = 20
    top_m: int = 10

    def __post_init__(self) -> None:
        check_window(self.inner, self.size)
        at_least(1, top_m=self.top_m)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the windows, until the first places are certain."""
        return WindowRanker(self.inner, query, passages).ranking(self.size, self._order)

    def _order(self, ranker: WindowRanker) -> Plan[Sequence[int]]:
        n = len(ranker.passages)
        known = _Known.nothing(n)
        # Passages that nothing is known of come first.
        full = range(0, n - n % self.size, self.size)
        windows = [list(range(start, start + self.size)) for start in full]
        while windows:
            for items in (yield from gather([ranker.best_first(window) for window in windows])):
                known.add(items)
            window = known.open_groups(self.top_m, self.size)
            windows = [window] if window else []
        return known.order()


@dataclass(slots=True)
class _Known:
    """Relations that follow from the answers so far: for each position, sets of others as bits.

    Attributes:
        above: Those that are better, by an answer or by a chain of answers.
        below: Those that are worse. What is in both is level.
        wins: How often each one was put above each other one, in a window.
    """

    above: list[int]
    below: list[int]
    wins: list[list[int]]

    @classmethod
    def nothing(cls, n: int) -> "_Known":
        return cls([0] * n, [0] * n, [[0] * n for _ in range(n)])

    def add(self, best_first: Sequence[int]) -> None:
        """Add an answer, and all that follows from it."""
        for place, winner in enumerate(best_first):
            for loser in best_first[place + 1 :]:
                self.wins[winner][loser] += 1
        for winner, loser in pairwise(best_first):
            if self.below[winner] >> loser & 1:
                continue
            over, under = self.above[winner] | 1 << winner, self.below[loser] | 1 << loser
            for i in _members(over):
                self.below[i] |= under
            for i in _members(under):
                self.above[i] |= over

    def open_groups(self, top_m: int, size: int) -> list[int]:
        """Positions for the next window, ascending; none when the first ``top_m`` are certain."""
        n = len(self.above)
        everyone = (1 << n) - 1
        ranked = sorted(range(n), key=lambda i: (*self._reach(i), i))
        is_open = [self.above[i] | self.below[i] | 1 << i != everyone for i in range(n)]
        if not any(is_open[i] for i in ranked[:top_m]):
            return []
        found, seen = list[int](), 0
        for i in ranked:
            if is_open[i] and not seen >> i & 1:
                found.append(i)
                seen |= self._level(i)
        return sorted(found[:size])

    def order(self) -> list[int]:
        """All positions, so that none stands below one that it is known to be better than."""
        left, found = (1 << len(self.above)) - 1, list[int]()
        while left:
            first = next(i for i in _members(left) if not self.above[i] & ~self._level(i) & left)
            level = list(_members(self._level(first)))
            found += [level[k] for k in copeland([[self.wins[i][j] for j in level] for i in level])]
            left &= ~self._level(first)
        return found

    def _level(self, i: int) -> int:
        """Return the position itself, and those that are above and below it."""
        return self.above[i] & self.below[i] | 1 << i

    def _reach(self, i: int) -> tuple[int, int]:
        """Count those that are above, and those that are below, without level ones."""
        level = self._level(i)
        return (self.above[i] & ~level).bit_count(), (self.below[i] & ~level).bit_count()


def _members(bits: int) -> Iterator[int]:
    """The positions in a set of bits, ascending."""
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1
