"""A framework's items as passages, and a ranking as the result of a component."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

from ..errors import InputError
from ..ranking import Ranking, Report
from ..text import Passage

_COMPARABLE = ("logit", "logprob", "probability", "z-score")


@dataclass(frozen=True, slots=True)
class Candidates:
    """A framework's items as passages, each id once.

    Attributes:
        positions: The position of each in the framework's list.
        texts: The texts for the model.
        scores: The items' scores, as Python floats; None for an item without one.
        duplicates: How many items were left out because they are copies of others.
    """

    positions: tuple[int, ...]
    texts: tuple[str, ...]
    scores: tuple[float | None, ...]
    duplicates: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a component.

    Attributes:
        lines: Position in the framework's list and score, best first.
        meta: Plain values: usage, score kind, fallback and its causes, repairs.
        warning: One sentence for the log; empty if there is nothing to report.
    """

    lines: tuple[tuple[int, float | None], ...]
    meta: dict[str, Any]
    warning: str


def check_top_k(name: str, value: object) -> None:
    """Refuse a number of results that is not a positive integer, in the words of the frameworks.

    Examples:
        >>> check_top_k("top_k", 0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: top_k must be > 0, but got 0
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be an integer or None, but got {value!r}")
    if value <= 0:
        raise InputError(f"{name} must be > 0, but got {value}")


def check_threshold(value: object) -> None:
    """Refuse a score threshold that is not a finite number."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"score_threshold must be a number or None, but got {value!r}")


def candidates(ids: Sequence[str], texts: Sequence[str], scores: Sequence[object]) -> Candidates:
    """Make candidates of items: each id once, at its first position, in its best-scored copy.

    Examples:
        >>> candidates(["a", "b", "a"], ["one", "two", "one again"], [0.1, None, 0.9]).texts
        ('one again', 'two')
    """
    numbers = [None if score is None else float(score) for score in scores]  # type: ignore[arg-type]  # NumPy's too
    best: dict[str, int] = {}
    for i, identifier in enumerate(ids):
        kept = best.get(identifier)
        if kept is None or _strength(numbers[i]) > _strength(numbers[kept]):
            best[identifier] = i
    positions = tuple(best.values())
    return Candidates(
        positions,
        tuple(Passage(texts[i], score=numbers[i]) for i in positions),
        tuple(numbers[i] for i in positions),
        len(ids) - len(positions),
    )


def conclude(
    ranking: Ranking,
    found: Candidates,
    *,
    top_k: int | None,
    score_threshold: float | None = None,
    drop_unranked: bool = False,
) -> Outcome:
    """Make the result of a component.

    If something failed and the order is the input's, the items keep their scores, because a
    reranker that failed has none. A threshold is inclusive, is applied before ``top_k``, and is
    not applied to scores that only number the places (``score_kind="rank"``).

    Args:
        ranking: All candidates, ranked.
        found: The candidates.
        top_k: How many to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of ``ranking.score_kind``.
        drop_unranked: Leave out the items that the model's answers left out.
    """
    kept = ranking.kept_order
    applied = score_threshold is not None and ranking.score_kind != "rank"
    lines = [
        (found.positions[i], found.scores[i] if kept else score)
        for i, score in zip(ranking.order, ranking.scores, strict=True)
        if not (applied and score_threshold is not None and score < score_threshold)
        and not (drop_unranked and i in ranking.report.missing)
    ]
    meta = _meta(ranking, found) | {"score_threshold_applied": applied}
    ignored = score_threshold is not None and not applied and len(ranking) > 1 and not kept
    return Outcome(tuple(lines[:top_k]), meta, _warning(ranking, found, ignored))


def _strength(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score


def _meta(ranking: Ranking, found: Candidates) -> dict[str, Any]:
    report = ranking.report
    return {
        "score_kind": ranking.score_kind,
        "usage": asdict(ranking.usage),
        "fallback": report.fallback,
        "causes": _causes(report),
        "repairs": {
            "malformed": report.malformed,
            "missing": len(report.missing),
            "duplicates": report.duplicates,
            "out_of_range": report.out_of_range,
            "unseen_labels": report.unseen_labels,
            "written_orders": report.written_orders,
            "cut_answers": report.cut_answers,
            "invalid_grades": report.invalid_grades,
        },
        "truncated": len(report.truncated),
        "duplicates_removed": found.duplicates,
    }


def _causes(report: Report) -> list[str]:
    malformed = "the model's answer cannot be read"
    return [*report.fallbacks, *[malformed] * report.malformed]


def _warning(ranking: Ranking, found: Candidates, ignored: bool) -> str:
    said = []
    if causes := _causes(ranking.report):
        more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
        extent = "the order was kept" if ranking.kept_order else "a part kept its order"
        said.append(f"{extent}: {causes[0]}{more}")
    if empty := sum(not text.strip() for text in found.texts):
        said.append(f"{empty} of {len(found.texts)} passages have no text")
    if ranking.report.cut_answers:
        said.append(f"{ranking.report.cut_answers} answers were cut by the limit of tokens")
    if ranking.report.invalid_grades:
        said.append(f"{ranking.report.invalid_grades} grades are not on the scale and were ignored")
    if ignored:
        said.append("score_threshold is ignored, because these scores only number the places")
    distinct = len(set(found.texts)) > 1 and len(set(ranking.scores)) == 1
    if ranking.score_kind in _COMPARABLE and distinct:
        said.append("the model gave different passages the same score, so it did not rank them")
    return "; ".join(said)
