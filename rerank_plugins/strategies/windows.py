"""Windows over a list: the one schedule that every listwise strategy shares."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..calls import Plan
from ..data import Ranking, Report, Strategy, check_inner, input_order
from ..errors import InputError


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
    a full sort. A window of one passage is left alone. Lists that fit one window are answered by
    ``inner`` itself, scores included; longer ones get scores of kind ``"rank"``, because an
    inner strategy's scores cannot be compared across windows.

    Args:
        inner: Orders one window.
        size: Passages in a window, at least 2.
        stride: How far the window moves, at least 1 and below ``size``.

    Raises:
        InputError: ``size`` or ``stride`` is out of range.

    References:
        Sun et al., Is ChatGPT Good at Search?, arXiv:2304.09542, 2023.

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

    def __post_init__(self) -> None:
        check_inner(self.inner)
        most = getattr(self.inner, "max_passages", None)
        if most is not None and self.size > most:
            raise InputError(
                f"the window size is {self.size}, and {type(self.inner).__name__} takes at most "
                f"{most} passages with its prompt"
            )
        if self.size < 2:
            raise InputError(f"the window size is {self.size}, expected at least 2")
        if not 1 <= self.stride < self.size:
            raise InputError(
                f"the stride is {self.stride} and the window size {self.size}",
                hint="The stride must be at least 1 and below the size, or windows don't overlap.",
            )

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one pass over the list."""
        n = len(passages)
        if n < 2:
            return input_order(n)
        if n <= self.size:
            return (yield from self.inner.rank(query, passages))
        order = list(range(n))
        report = Report()
        for window in windows(n, self.size, self.stride):
            seen = order[window]
            if len(seen) < 2:
                continue
            best = yield from self.inner.rank(query, [passages[i] for i in seen])
            order[window] = [seen[j] for j in best.order]
            report += best.report.mapped(seen)
        return Ranking(tuple(order), report=report)
