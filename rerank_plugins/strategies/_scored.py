"""From scores of single passages to a ranking, also where some are unknown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import CallError
from ..ranking import Ranking, Report, ScoreKind, by_score
from ._attempt import Attempt


@dataclass(frozen=True, slots=True)
class Scored:
    """One passage's score, None where the model's answer had none, and what happened to it."""

    score: float | None
    report: Report = field(default_factory=Report)


def rank_scored(
    answers: Sequence[Scored | CallError], kind: ScoreKind, *, report: Report | None = None
) -> Attempt:
    """Rank by score. A passage without one keeps its place, and the others are sorted around it.

    Then the scores only number the places, because the order is no longer that of the scores.

    Args:
        answers: For each passage.
        kind: What the scores are.
        report: What is known beside the passages' own reports.

    Returns:
        The ranking, and the first failure among the answers.
    """
    scored = [a if isinstance(a, Scored) else Scored(None) for a in answers]
    known = {i: a.score for i, a in enumerate(scored) if a.score is not None}
    total = report or Report()
    for i, answer in enumerate(scored):
        total += answer.report.mapped([i])
    errors = [a for a in answers if isinstance(a, CallError)]
    if len(known) == len(answers):
        return Attempt(by_score(list(known.values()), kind, report=total))
    unread = frozenset(i for i, a in enumerate(answers) if i not in known and a not in errors)
    total += Report(missing=unread)
    best_first = iter(sorted(known, key=lambda i: -known[i]))
    order = tuple(next(best_first) if i in known else i for i in range(len(answers)))
    return Attempt(Ranking(order, report=total), errors[0] if errors else None)
