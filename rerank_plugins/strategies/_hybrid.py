"""Rankings combined with the first stage's order or scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, pstdev

from .._checks import at_least, flag, share
from ..calls import Plan
from ..ranking import Ranking, Strategy, by_score, check_inner
from ..text import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Combine a ranking with the order the passages came in, by reciprocal rank fusion.

    A weak reranker and a good retriever make different mistakes; together they are often better
    than either. Only ranks are used, so the retriever's scores may be of any kind and direction.

    Args:
        inner: The strategy whose order is combined with the input's.
        k: A constant added to each rank, usually 60: the larger, the less the top ranks dominate.

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
        at_least(0.0, k=self.k)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of ``inner``, and fuse it with the input's order."""
        ranking = yield from self.inner.rank(query, passages)
        fused = {i: 1 / (self.k + rank) for rank, i in enumerate(ranking.order, start=1)}
        scores = [1 / (self.k + i + 1) + fused[i] for i in range(len(passages))]
        return Ranking(by_score(scores, "rank").order, report=ranking.report)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """Mix the reranker's scores with the first stage's, both as z-scores.

    Scores are ``alpha * z(first stage) + (1 - alpha) * z(reranker)``, with ``z(x) = (x - mean) /
    standard deviation`` over the list (``score_kind="z-score"``: any real number, comparable within
    the result alone; `Ranking.model_scores` has the reranker's own). The first stage's scores are
    those of the `Passage` objects that are ranked: higher is better. The commands set them, and so
    do the framework components, which leave out scores whose direction they cannot tell. `Reranker`
    and the components negate distances: scores that rise along the list, best passage first.

    If a call of ``inner`` failed, the result is the ranking of ``inner`` alone.

    Args:
        inner: Gives the reranker's scores; their places if it gives only an order
            (``score_kind="rank"``).
        alpha: The weight of the first stage, 0 to 1.
        places: Whether the places of the passages replace the first stage's scores if one of them
            has no score. If False, the result is then the ranking of ``inner`` alone, with its own
            kind of score.

    Raises:
        InputError: ``alpha`` is out of range, or ``inner`` is not a strategy.

    References:
        Cai et al., ERank, arXiv:2509.00520, 2025, which mixes in BM25 with 0.2.

    Examples:
        >>> from rerank_plugins import Passage, Reranker
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> passages = [Passage("a", score=9.0), Passage("b", score=1.0), Passage("c", score=1.0)]
        >>> same = Oracle(key=lambda query, passage: 1.0 if passage == "b" else 0.9)
        >>> Reranker(Hybrid(PairScore(), alpha=0.9), same).rank("q", passages).order
        (0, 1, 2)
    """

    inner: Strategy = field(kw_only=False)
    alpha: float = 0.2
    places: bool = True

    def __post_init__(self) -> None:
        check_inner(self.inner)
        share(alpha=self.alpha)
        flag(places=self.places)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of ``inner``, and mix its scores with the first stage's."""
        ranking = yield from self.inner.rank(query, passages)
        scores = [Passage.of(passage).score for passage in passages]
        first = [float(s) for s in scores if s is not None and math.isfinite(s)]
        if len(first) < len(passages) and self.places:
            first = [float(-place) for place in range(len(passages))]
        # A failure gives no scores that could be mixed.
        if not passages or len(first) < len(passages) or ranking.report.fallback:
            return ranking
        by_rank = ranking.score_kind == "rank"
        reranked = [0.0] * len(passages)
        for place, (i, score) in enumerate(zip(ranking.order, ranking.scores, strict=True)):
            reranked[i] = float(-place) if by_rank else score
        mixed = [
            self.alpha * a + (1 - self.alpha) * b
            for a, b in zip(z_scores(first), z_scores(reranked), strict=True)
        ]
        found = by_score(mixed, "z-score", report=ranking.report)
        if ranking.model_scores:  # of a mixture that is mixed again
            own, kind = ranking.model_scores, ranking.model_score_kind
        else:
            own, kind = () if by_rank else tuple(reranked), ranking.score_kind
        return replace(found, model_scores=own, model_score_kind=kind)


def z_scores(values: Sequence[float]) -> list[float]:
    """Each value in standard deviations of the list above its mean; 0 if all are equal.

    Examples:
        >>> z_scores([1.0, 3.0]), z_scores([2.0, 2.0])
        ([-1.0, 1.0], [0.0, 0.0])
    """
    if not values:
        return []
    _, exponent = math.frexp(max(map(abs, values)))
    scaled = [math.ldexp(value, -exponent) for value in values]  # a sum of huge values has no float
    mean, spread = fmean(scaled), pstdev(scaled)
    return [(value - mean) / spread if spread else 0.0 for value in scaled]
