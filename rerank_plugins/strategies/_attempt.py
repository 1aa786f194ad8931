"""Rankings that a failed call or an unreadable answer left incomplete, as values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..calls import Plan
from ..errors import CallError
from ..plans import gather, settle
from ..ranking import Ranking, Report, ScoreKind, Strategy, by_score, input_order
from ..text import Passage


@dataclass(frozen=True, slots=True)
class Attempt:
    """The best ranking that is known, and the failure that kept it from being finished.

    A strategy that can say more than the input's order when a call fails has, beside ``rank``, a
    method ``attempt_rank`` with the same arguments, which plans one of these.

    Args:
        ranking: The ranking.
        error: The first failure; None if nothing failed.
        unread: The positions that a failure kept from being read; None for all of them.
    """

    ranking: Ranking
    error: CallError | None = None
    unread: frozenset[int] | None = None

    def result(self) -> Ranking:
        """The ranking, if nothing failed.

        Raises:
            CallError: The failure, if there was one.
        """
        if self.error is not None:
            raise self.error
        return self.ranking


def attempt(strategy: Strategy, query: str, passages: Sequence[Passage]) -> Plan[Attempt]:
    """Plan a ranking by any strategy, with the input's order where it knows nothing better."""
    own = getattr(strategy, "attempt_rank", None)
    try:
        if own is None:
            return Attempt((yield from strategy.rank(query, passages)))
        known: Attempt = yield from own(query, passages)
    except CallError as error:
        return Attempt(input_order(len(passages)), error)
    return known


@dataclass(frozen=True, slots=True)
class Scored:
    """A passage's score, and its report; None when the model's answer has no score."""

    score: float | None
    report: Report = field(default_factory=Report)


def rank_each(
    score: Callable[[str], Plan[Scored]], passages: Sequence[str], kind: ScoreKind
) -> Plan[Attempt]:
    """Plan ``score(passage)`` for all passages side by side, and rank by the scores."""
    plans = [settle(score(passage)) for passage in passages]
    return rank_scored((yield from gather(plans)), kind)


def rank_scored(
    answers: Sequence[Scored | CallError], kind: ScoreKind, *, report: Report | None = None
) -> Attempt:
    """Rank by score. A passage without one keeps its place, and the others are sorted around it.

    In that case the ranking has scores of kind ``"rank"``, because its order is not that of the
    scores.

    Args:
        answers: One for each passage.
        kind: The kind of the scores.
        report: Added to the reports of the passages.

    Returns:
        The ranking, and the first failure among the answers.
    """
    if not answers:
        return Attempt(input_order(0))
    scored = [a if isinstance(a, Scored) else Scored(None) for a in answers]
    known = {i: a.score for i, a in enumerate(scored) if a.score is not None}
    total = report or Report()
    for i, answer in enumerate(scored):
        total += answer.report.mapped([i])
    errors = [a for a in answers if isinstance(a, CallError)]
    if len(known) == len(answers):
        return Attempt(by_score(list(known.values()), kind, report=total))
    unread = frozenset(i for i, a in enumerate(answers) if isinstance(a, CallError))
    best_first = iter(sorted(known, key=lambda i: -known[i]))
    order = tuple(next(best_first) if i in known else i for i in range(len(answers)))
    total += Report(missing=frozenset(range(len(answers))).difference(known, unread))
    return Attempt(Ranking(order, report=total), errors[0] if errors else None, unread)
