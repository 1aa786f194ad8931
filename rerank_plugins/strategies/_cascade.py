"""Two strategies, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._checks import at_least
from ..calls import Plan
from ..ranking import Ranking, Strategy, check_inner
from ..text import Passage
from ._attempt import Attempt, attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Rank everything with a cheap strategy, and the best of it again with an expensive one.

    If the two need different models, give the reranker a `Routed` backend. Scores are of kind
    ``"rank"``, unless the second stage covers the whole list.

    Args:
        first: Ranks the whole list.
        then: Ranks the best of it again.
        depth: The number of passages that the second stage gets.

    Raises:
        InputError: ``depth`` is not positive, or a stage is not a strategy.

    References:
        Abdallah et al., DeAR, arXiv:2508.16998, 2025: pointwise over 100, then listwise reasoning
        over 30.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import PairScore, Permutation
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> cascade = Cascade(first=PairScore(), then=Permutation(), depth=2)
        >>> Reranker(cascade, by_length).rank("q", ["a", "abc", "ab"]).order
        (1, 2, 0)
    """

    first: Strategy
    then: Strategy
    depth: int = 30

    def __post_init__(self) -> None:
        check_inner(self.first)
        check_inner(self.then)
        at_least(1, depth=self.depth)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the first stage, then the second."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[Passage]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the order that the stages know."""
        known = yield from attempt(self.first, query, passages)
        if known.error is not None or len(passages) < 2:
            return known
        coarse = known.ranking
        best, rest = coarse.order[: self.depth], coarse.order[self.depth :]
        then = yield from attempt(self.then, query, [passages[i] for i in best])
        fine = then.ranking
        order = (*(best[j] for j in fine.order), *rest)
        report = coarse.report.followed(fine.report.mapped(best), best)
        if rest:
            return Attempt(Ranking(order, report=report), then.error)
        own = dict(zip(best, fine.model_scores, strict=False))  # by position here, or none
        model_scores = tuple(own[i] for i in sorted(own))
        found = replace(fine, order=order, report=report, model_scores=model_scores)
        return Attempt(found, then.error)
