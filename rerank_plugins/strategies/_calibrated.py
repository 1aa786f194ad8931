"""Scores that became probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .._checks import at_least, positive
from ..calls import Plan
from ..errors import InputError
from ..ranking import Ranking, Strategy, check_inner
from ..text import Passage, in_known_order
from ._attention_score import AttentionScore
from ._hybrid import Hybrid


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Turn scores, and places in the first stage's list, into probabilities of being relevant.

    A passage's log-odds are ``slope * score + intercept + places / (k + place)``, with its place
    from 1, and its score is their logistic function (``score_kind="probability"``). It depends on
    no other passage of the list, so a threshold means the same for every query, as far as the
    numbers here fit the collection: they are fitted to judgements.

    A place says something where the list is known to be in a first stage's order: where all
    passages have a score, and the scores only fall along the list, or only rise, as distances do.
    The scores themselves are not used, so their scale and direction do not matter. In any other
    list the log-odds have ``unplaced`` instead of ``places / (k + place)``.

    Where ``inner`` gives an order without scores, or a call of it failed, its ranking is kept.
    Scores that compare within one list alone (``"z-score"``: `Hybrid`, `AttentionScore`) are
    refused: they say nothing about another query's passages.

    Args:
        inner: Gives the scores.
        slope: The weight of a score, above 0.
        intercept: The log-odds at a score of 0.
        places: The weight of places, at least 0; 0 leaves them out.
        k: A constant added to each place: the larger, the less the first ones stand out.
        unplaced: What stands for a place where there is none.

    Raises:
        InputError: A number is out of range or not finite, ``inner`` is not a strategy, or its
            scores compare within one list alone.

    References:
        Platt, Probabilistic outputs for support vector machines, 1999; the reciprocals of places
        are those of Cormack, Clarke and Büttcher, SIGIR 2009.

    Examples:
        >>> from rerank_plugins import Passage, Reranker
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> same = Oracle(key=lambda query, passage: 0.0)
        >>> reranker = Reranker(Calibrated(PairScore(), places=2.0, k=0.0), same)
        >>> reranker.rank("flea", ["a flea", "a dog"]).scores
        (0.5, 0.5)
        >>> found = [Passage("a flea", score=9.5), Passage("a dog", score=8.1)]
        >>> [round(p, 2) for p in reranker.rank("flea", found).scores]
        [0.88, 0.73]
    """

    inner: Strategy = field(kw_only=False)
    slope: float = 1.0
    intercept: float = 0.0
    places: float = 0.0
    k: float = 2.0
    unplaced: float = 0.0

    def __post_init__(self) -> None:
        check_inner(self.inner)
        if isinstance(self.inner, Hybrid | AttentionScore):
            raise _within_one_list(self.inner)
        positive(slope=self.slope)
        at_least(0.0, places=self.places, k=self.k)
        at_least(-math.inf, intercept=self.intercept, unplaced=self.unplaced)

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of ``inner``, and order its passages by their probabilities."""
        ranking = yield from self.inner.rank(query, passages)
        if ranking.score_kind == "rank" or ranking.report.fallback:
            return ranking
        if ranking.score_kind == "z-score":  # of one that holds such a strategy, or someone's own
            raise _within_one_list(self.inner)
        placed = in_known_order(Passage.all_of(passages))
        odds = {
            i: self.slope * score
            + self.intercept
            + (self.places / (self.k + i + 1) if placed else self.unplaced)
            for i, score in zip(ranking.order, ranking.scores, strict=True)
        }
        # By log-odds: probabilities near 0 and 1 are equal sooner.
        order = tuple(sorted(odds, key=lambda i: (-odds[i], i)))
        probabilities = tuple(logistic(odds[i]) for i in order)
        return Ranking(order, probabilities, "probability", report=ranking.report)


def _within_one_list(inner: Strategy) -> InputError:
    """The error for scores that cannot become probabilities."""
    hint = "Calibrate a strategy that scores passages one at a time, such as PairScore."
    if isinstance(inner, Hybrid):
        hint = f"Calibrate what it holds: Hybrid(Calibrated({type(inner.inner).__name__}(...)))."
    return InputError(
        f"the scores of {type(inner).__name__} compare within one list alone, so they do not "
        "become probabilities",
        hint=hint,
    )


def logistic(odds: float) -> float:
    """The probability of log-odds.

    Examples:
        >>> logistic(0.0), logistic(-1e6), logistic(1e6)
        (0.5, 0.0, 1.0)
    """
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
