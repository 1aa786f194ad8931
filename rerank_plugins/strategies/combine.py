"""Strategies of strategies."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, cast

from ..calls import Plan
from ..data import Ranking, Report, Strategy, by_score, check_inner, input_order
from ..errors import CallError, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepOrder:
    """Leave the passages as they are when a call fails, and say so in the report.

    Put it around the smallest piece that may fail alone: inside `SlidingWindow` a failed call
    costs its window and nothing else. Where a strategy knows a better order than the input's
    without the failed answer, that order is used.

    Args:
        inner: The strategy that may fail.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Failing
        >>> ranking = Reranker(KeepOrder(inner=SingleToken()), Failing()).rank("q", ["a", "b"])
        >>> ranking.order, ranking.report.fallbacks
        ((0, 1), ('BackendError: this backend always fails',))
    """

    inner: Strategy = field(kw_only=False)

    def __post_init__(self) -> None:
        check_inner(self.inner)

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan what ``inner`` plans."""
        try:
            return (yield from self.inner.rank(query, passages))
        except CallError as error:
            cause = Report(fallbacks=(f"{type(error).__name__}: {error}",))
            if isinstance(error.partial, Ranking):
                return replace(error.partial, report=error.partial.report + cause)
            return input_order(len(passages), report=cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Combine a ranking with the order the passages came in, by reciprocal rank fusion.

    A weak reranker and a good retriever make different mistakes; together they are often better
    than either. Only ranks are used, so the retriever's scores may be of any kind and direction.

    Args:
        inner: The strategy whose order is combined with the input's.
        k: How little the top ranks dominate; 60 is the usual value.

    Raises:
        InputError: ``k`` is negative.

    References:
        Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual
        Rank Learning Methods, SIGIR 2009.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import QueryLikelihood
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> Reranker(Blend(inner=QueryLikelihood()), by_length).rank("q", ["aa", "a", "aaa"]).order
        (0, 2, 1)
    """

    inner: Strategy = field(kw_only=False)
    k: float = 60.0

    def __post_init__(self) -> None:
        check_inner(self.inner)
        if not self.k >= 0:
            raise InputError(f"k is {self.k}, expected 0 or more")

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan what ``inner`` plans."""
        ranking = yield from self.inner.rank(query, passages)
        fused = {i: 1 / (self.k + rank) for rank, i in enumerate(ranking.order, start=1)}
        scores = [1 / (self.k + i + 1) + fused[i] for i in range(len(passages))]
        return Ranking(by_score(scores, "rank").order, report=ranking.report)


def keeping_order(strategy: Strategy) -> Strategy:
    """The strategy with `KeepOrder` around it and around whatever it has in a field ``inner``.

    Examples:
        >>> from rerank_plugins.strategies import SingleToken, SlidingWindow
        >>> keeping_order(SlidingWindow(inner=SingleToken())).inner
        SlidingWindow(inner=KeepOrder(inner=SingleToken(prompt='first.v1')), size=20, stride=10)
    """
    if is_dataclass(strategy) and "inner" in {f.name for f in fields(strategy)}:
        composed = cast(Any, strategy)
        strategy = replace(composed, inner=keeping_order(composed.inner))
    return strategy if isinstance(strategy, KeepOrder) else KeepOrder(inner=strategy)
