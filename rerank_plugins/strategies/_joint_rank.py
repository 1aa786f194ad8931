"""Overlapping windows, all ranked at once: a listwise schedule of depth 1."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from .._checks import at_least, one_of
from ..calls import Plan
from ..plans import gather
from ..ranking import Cost, Ranking, Strategy
from ..text import Passage
from ._aggregation import Matrix, borda, copeland, page_rank
from ._sliding_window import WindowRanker, check_window

_METHODS: Mapping[str, Callable[[Matrix], tuple[int, ...]]] = {
    "pagerank": page_rank,
    "copeland": copeland,
    "borda": borda,
}


def blocks(n: int, size: int, repeats: int) -> list[list[int]]:
    """Divide ``n`` positions into blocks of at most ``size``, ``repeats`` times.

    The list is a table of as many columns as there are blocks. A block takes one position of each
    row: all of a column the first time, and one or more columns further with each row the other
    times, by the rules of Latin squares. So every block has good and bad passages, and shares few
    with any other block. When every rule has been used, no further blocks are made.

    Examples:
        >>> blocks(8, 4, 2)
        [[0, 2, 4, 6], [1, 3, 5, 7], [0, 3, 4, 7], [1, 2, 5, 6]]
    """
    columns = -(-n // size)
    rows = -(-n // columns)
    digits = next(d for d in range(1, n + 1) if columns == 1 or columns**d >= rows)
    found = []
    for repeat in range(min(repeats, columns**digits)):
        dealt: list[list[int]] = [[] for _ in range(columns)]
        for i in range(n):
            row, rule, shift = i // columns, repeat, 0
            while rule:
                shift += (rule % columns) * (row % columns)
                row, rule = row // columns, rule // columns
            dealt[(i + shift) % columns].append(i)
        found += dealt
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRank:
    """Rank overlapping windows side by side, and join their orders into one.

    Every passage is in ``repeats`` windows, which are all asked at once, so that the depth is 1.
    What the windows say about pairs is aggregated. Two passages that never met are compared through
    others, so the best ten are found nearly, and not surely, in the right places: a second round,
    `Cascade` with ``depth=20``, puts them right.

    Lists that fit one window are answered by ``inner`` itself, scores included; longer ones get
    scores of kind ``"rank"``. Where every window keeps its order, so does the list.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 2.
        repeats: The number of windows that a passage is in, at least 1.
        aggregate: The order from the pairs. ``"pagerank"``: a passage is good if it beats good
            ones; ``"copeland"``: by the number of others that it beats, where those that it did not
            meet count half; ``"borda"``: by the number of comparisons that it wins.

    Raises:
        InputError: An argument is out of range, or ``inner`` is not a strategy.

    References:
        Dedov, JointRank, arXiv:2506.22262, ICTIR 2025. It shuffles the list for each repetition;
        the division by Latin squares here finds more of the best ten with as many windows.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Oracle
        >>> hundred = list(map(str, range(100)))
        >>> ranking = Reranker(JointRank(SingleToken()), Oracle()).rank("q", hundred)
        >>> ranking.usage.calls, ranking.usage.batches
        (10, 1)
    """

    inner: Strategy = field(kw_only=False)
    size: int = 20
    repeats: int = 2
    aggregate: Literal["pagerank", "copeland", "borda"] = "pagerank"

    def __post_init__(self) -> None:
        check_window(self.inner, self.size)
        at_least(1, repeats=self.repeats)
        one_of("aggregate", self.aggregate, _METHODS)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan all windows in one round."""
        return WindowRanker(self.inner, query, passages).ranking(self.size, self._order)

    def _order(self, ranker: WindowRanker) -> Plan[Sequence[int]]:
        n = len(ranker.passages)
        # The last row may be short. It is filled with passages that lose to all others, or those
        # of longer blocks would win more often for no merit of theirs.
        columns = -(-n // self.size)
        table = columns * -(-n // columns)
        filled = blocks(table, self.size, self.repeats)
        asked = [ranker.best_first([i for i in block if i < n]) for block in filled]
        wins = [[0.0] * table for _ in range(table)]
        for block, ranked in zip(filled, (yield from gather(asked)), strict=True):
            for winner, loser in combinations([*ranked, *block[len(ranked) :]], 2):
                wins[winner][loser] += 1.0
        return [i for i in _METHODS[self.aggregate](wins) if i < n]

    def cost(self, n: int) -> Cost:
        """The windows of a list of ``n``, all in one round.

        Examples:
            >>> from rerank_plugins.strategies import SingleToken
            >>> JointRank(SingleToken()).cost(100)
            Cost(calls=10, depth=1)
        """
        if n <= self.size:
            return Cost(int(n > 1), int(n > 1))
        calls = sum(len(block) > 1 for block in blocks(n, self.size, self.repeats))
        return Cost(calls, int(calls > 0))
