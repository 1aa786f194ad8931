"""A window that slides over the list, and what every schedule of windows needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .._checks import at_least
from ..calls import Plan
from ..errors import InputError
from ..ranking import Cost, Ranking, Report, Strategy, check_inner, input_order
from ..text import Passage


def windows(n: int, size: int, stride: int) -> Iterator[slice]:
    """Windows of a list of ``n`` items, from the bottom to the top.

    One window when ``n <= size``, else ``1 + ceil((n - size) / stride)``. Each starts ``stride``
    above the last and overlaps it by ``size - stride``; the one at the top may be shorter.

    Examples:
        >>> [(w.start, w.stop) for w in windows(25, 20, 10)]
        [(5, 25), (0, 15)]
    """
    stop = n
    while stop > 0:
        start = max(stop - size, 0)
        yield slice(start, stop)
        stop = stop - stride if start else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindow:
    """Carry the best passages of each window upwards, from the bottom of the list to its top.

    One pass lets the best ``size - stride`` passages of the whole list reach the top; it is not
    a full sort. Each further pass leaves those alone and brings up the next ones. A window of one
    passage needs no call. Lists that fit one window are answered by ``inner`` itself, scores
    included; longer ones get scores of kind ``"rank"``, because an inner strategy's scores cannot
    be compared across windows.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 2.
        stride: The number of places that the window moves, at least 1 and below ``size``.
        passes: The number of passes over the list, at least 1.

    Raises:
        InputError: ``size``, ``stride`` or ``passes`` is out of range.

    References:
        Sun et al., Is ChatGPT Good at Search?, arXiv:2304.09542, 2023; passes: Liu et al., Sliding
        Windows Are Not the End, arXiv:2412.14574, 2024.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken, SlidingWindow
        >>> from rerank_plugins.testing import Oracle
        >>> ranker = Reranker(SlidingWindow(inner=SingleToken(), size=4, stride=2), Oracle())
        >>> ranker.rank("q", ["p"] * 10).usage.batches
        4
    """

    inner: Strategy = field(kw_only=False)
    size: int = 20
    stride: int = 10
    passes: int = 1

    def __post_init__(self) -> None:
        check_window(self.inner, self.size)
        at_least(1, stride=self.stride, passes=self.passes)
        if self.stride >= self.size:
            raise InputError(
                f"the stride is {self.stride} and the window size {self.size}",
                hint="The stride must be at least 1 and below the size, or windows don't overlap.",
            )

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the passes over the list."""
        return WindowRanker(self.inner, query, passages).ranking(self.size, self._order)

    def _order(self, ranker: "WindowRanker") -> Plan[Sequence[int]]:
        n = len(ranker.passages)
        order = list(range(n))
        for window in self._windows(n):
            order[window] = yield from ranker.best_first(order[window])
        return order

    def cost(self, n: int) -> Cost:
        """The windows of a list of ``n``; each waits for the one before it.

        Examples:
            >>> from rerank_plugins.strategies import SingleToken
            >>> SlidingWindow(SingleToken()).cost(100)
            Cost(calls=9, depth=9)
        """
        calls = len(list(self._windows(n))) if n > self.size else int(n > 1)
        return Cost(calls, calls)

    def _windows(self, n: int) -> Iterator[slice]:
        for settled in range(0, self.passes * (self.size - self.stride), self.size - self.stride):
            for window in windows(n - settled, self.size, self.stride):
                if window.stop - window.start > 1:
                    yield slice(window.start + settled, window.stop + settled)


def check_window(inner: object, size: int) -> None:
    """Refuse windows that the inner strategy cannot order.

    Raises:
        InputError: ``inner`` is not a strategy, or takes fewer than ``size`` passages, or ``size``
            is below 2.
    """
    check_inner(inner)
    at_least(2, size=size)
    most = getattr(inner, "max_passages", None)
    if most is not None and size > most:
        raise InputError(
            f"size is {size}, and {type(inner).__name__} with its prompt takes at most {most} "
            "passages"
        )


@dataclass(slots=True)
class WindowRanker:
    """Ranks windows of one list and collects their reports, for one plan."""

    inner: Strategy
    query: str
    passages: Sequence[Passage]
    report: Report = field(default_factory=Report)

    def ranking(
        self, size: int, order: "Callable[[WindowRanker], Plan[Sequence[int]]]"
    ) -> Plan[Ranking]:
        """Plan the ranking of the list: one that fits a window is ranked by ``inner`` itself.

        Args:
            size: Passages in a window.
            order: Plans the order of a longer list, with this ranker.
        """
        n = len(self.passages)
        if n < 2:
            return input_order(n)
        if n <= size:
            return (yield from self.inner.rank(self.query, self.passages))
        found = yield from order(self)
        return Ranking(tuple(found), report=self.report)

    def best_first(self, positions: Sequence[int]) -> Plan[list[int]]:
        """Plan the order of these positions. One alone needs no call."""
        if len(positions) < 2:
            return list(positions)
        texts = [self.passages[i] for i in positions]
        ranking = yield from self.inner.rank(self.query, texts)
        self.report = self.report.followed(ranking.report.mapped(positions), positions)
        return [positions[j] for j in ranking.order]
