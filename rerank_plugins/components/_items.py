"""A framework's items as passages, and a ranking as the result of a component."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

from .._checks import is_blank
from ..errors import InputError
from ..ranking import Cut, Ranking, Report, ScoreKind
from ..text import Direction, Passage, direction_of

_COMPARABLE = ("logit", "logprob", "probability", "similarity")


@dataclass(frozen=True, slots=True)
class Candidates:
    """A framework's items as passages, each id once.

    Attributes:
        positions: The position of each in the framework's list.
        texts: The texts for the model.
        scores: The items' scores, as Python floats; None for an item without one.
        duplicates: How many items were left out because they are copies of others.
        blank: How many items have no text, copies among them.
        direction: What the scores are.
    """

    positions: tuple[int, ...]
    texts: tuple[str, ...]
    scores: tuple[float | None, ...]
    duplicates: int
    blank: int
    direction: Direction


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


def check_cut(name: str, value: object) -> None:
    """Refuse a wrong ``cut_at_gap`` or ``keep_at_least``, by its name."""
    Cut(**{name: value})  # type: ignore[arg-type]


def candidates(ids: Sequence[str], texts: Sequence[str], scores: Sequence[object]) -> Candidates:
    """Make candidates of items: each id once, at its first position, in its best-scored copy.

    The passages carry the scores as `Passage.score` defines them, higher is better: distances are
    negated, and scores whose direction is unknown are left out.

    Examples:
        >>> candidates(["a", "b", "a"], ["one", "two", "one again"], [0.1, None, 0.9]).texts
        ('one again', 'two')
    """
    numbers = [None if score is None else float(score) for score in scores]  # type: ignore[arg-type]  # NumPy's too
    direction = direction_of(numbers)
    sign = -1.0 if direction == "distance" else 1.0
    relevance = [None if number is None else sign * number for number in numbers]
    best: dict[str, int] = {}
    for i, identifier in enumerate(ids):
        kept = best.get(identifier)
        if kept is None or _strength(relevance[i]) > _strength(relevance[kept]):
            best[identifier] = i
    positions = tuple(best.values())
    told = direction != "unknown"
    return Candidates(
        positions,
        tuple(Passage(texts[i], similarity=relevance[i] if told else None) for i in positions),
        tuple(numbers[i] for i in positions),
        len(ids) - len(positions),
        sum(map(is_blank, texts)),
        direction,
    )


def conclude(
    ranking: Ranking,
    found: Candidates,
    *,
    top_k: int | None,
    score_threshold: float | None = None,
    cut_at_gap: bool = False,
    keep_at_least: int = 0,
    drop_unranked: bool = False,
    scale_score: bool = False,
    top_grade: float | None = None,
) -> Outcome:
    """Make the result of a component.

    If something failed and the order is the input's, the items keep their scores, because a
    reranker that failed has none. A threshold is inclusive and applied before ``top_k``. It is
    compared with the model's own scores, also where the returned scores mix them with the
    retriever's, and is not applied to scores that compare within one list alone (``"rank"``,
    ``"z-score"``). Items of which the model said that none is relevant, where its strategy allows
    that, are left out.

    Args:
        ranking: All candidates, ranked.
        found: The candidates.
        top_k: How many to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the model's own scores, or from
            0 to 1 with ``scale_score``.
        cut_at_gap: Return what stands above the largest drop of the scores.
        keep_at_least: How many neither of both leaves out.
        drop_unranked: Leave out the items that the model's answers left out.
        scale_score: Return scores from 0 to 1, where the kind of the scores allows it.
        top_grade: The highest grade that the strategy gives.
    """
    kept, kind = ranking.kept_order, ranking.score_kind
    own_kind, own = ranking.own_scores
    unit, own_unit = (unit_of(k, top_grade, scale=scale_score) for k in (kind, own_kind))
    cut = Cut(score_threshold=score_threshold, cut_at_gap=cut_at_gap, keep_at_least=keep_at_least)
    numbers = None if own_unit is None else {i: own_unit(score) for i, score in own.items()}
    out = cut.left_out(ranking, numbers)
    lines = [
        (found.positions[i], found.scores[i] if kept else (unit or float)(score))
        for i, score in zip(ranking.order, ranking.scores, strict=True)
        if i not in out
        and not (drop_unranked and i in ranking.report.missing)
        and i not in ranking.report.irrelevant
    ]
    scaled = scale_score and unit is not None
    meta = _meta(ranking, found) | {
        "score_kind": "probability" if scaled and kind in ("logit", "logprob") else kind,
        "score_scaled": scaled,
        "score_threshold_applied": score_threshold is not None and own_unit is not None,
        "cut": len(out),
    }
    ignored: list[str] = []
    if len(ranking) > 1 and not kept:
        if score_threshold is not None and own_unit is None:
            ignored.append("score_threshold")
        if cut_at_gap and kind == "rank":
            ignored.append("cut_at_gap")
        if scale_score and unit is None:
            ignored.append("scale_score")
    return Outcome(tuple(lines[:top_k]), meta, _warning(ranking, found, ignored))


def unit_of(
    kind: ScoreKind, top_grade: float | None, *, scale: bool
) -> Callable[[float], float] | None:
    """The function that brings scores of a kind to the unit of a result.

    None if they compare within one list alone, or have no scale from 0 to 1 and ``scale`` is set.
    """
    if kind in ("rank", "z-score") or (scale and kind == "grade" and not top_grade):
        return None
    if not scale:
        return float
    return {
        "logit": _logistic,
        "similarity": _logistic,
        "logprob": lambda x: math.exp(min(x, 0.0)),
        "grade": lambda x: min(max(x / (top_grade or 1.0), 0.0), 1.0),
    }.get(kind, float)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(min(-x, 700.0)))  # beyond, exp has no float


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
        "irrelevant": len(report.irrelevant),
        "skipped": report.skipped,
        "unscored": len(report.unscored),
        "duplicates_removed": found.duplicates,
        "retriever_scores": found.direction,
    }


def _causes(report: Report) -> list[str]:
    malformed = "the model's answer cannot be read"
    return [*report.fallbacks, *[malformed] * report.malformed]


def _warning(ranking: Ranking, found: Candidates, ignored: Sequence[str]) -> str:
    said = []
    if causes := _causes(ranking.report):
        more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
        extent = "the order was kept" if ranking.kept_order else "a part kept its order"
        said.append(f"{extent}: {causes[0]}{more}")
    if found.blank:
        given = len(found.texts) + found.duplicates
        said.append(f"{found.blank} of {given} passages have no text")
    if ranking.report.cut_answers:
        said.append(f"{ranking.report.cut_answers} answers were cut by the limit of tokens")
    if ranking.report.invalid_grades:
        said.append(f"{ranking.report.invalid_grades} grades are not on the scale and were ignored")
    if ignored:
        are = "are" if len(ignored) > 1 else "is"
        why = {
            "rank": "these scores only number the places",
            "z-score": "such scores compare within one list alone",
        }.get(ranking.score_kind, "the scale of the grades is unknown")
        said.append(f"{' and '.join(ignored)} {are} ignored, because {why}")
    kind, own = ranking.own_scores
    if kind in _COMPARABLE and len(set(found.texts)) > 1 and len({*own.values()}) == 1:
        said.append("the model gave different passages the same score, so it did not rank them")
    return "; ".join(said)
