"""What a reranker has said so far of the passages that were found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..ranking import Ranking, Report, ScoreKind
from ._fusion import dealt

_ACROSS: tuple[ScoreKind, ...] = ("logit", "probability", "grade")
"""Scores that mean the same in every list."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The passages that were reranked, by id.

    Attributes:
        order: Best first.
        scores: By id; empty where the order is all that is known.
        kind: What the scores are.
        reports: What happened, with the ids it happened to.
        failed: Why the last call did not rank; empty where it did.
    """

    order: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    kind: ScoreKind = "rank"
    reports: tuple[tuple[tuple[str, ...], Report], ...] = ()
    failed: str = ""

    def grown(self, ids: tuple[str, ...], ranking: Ranking, level: Mapping[str, float]) -> "Judged":
        """With more passages, which were ranked among themselves.

        Scores that mean the same in every list decide; other lists are merged by the level that
        the retriever gives, so that no passage has to be asked about again.

        Args:
            ids: What was ranked.
            ranking: Positions in ``ids``.
            level: The retriever's present score of every passage.
        """
        reports = (*self.reports, (ids, ranking.report))
        if ranking.kept_order:
            return replace(self, reports=reports, failed=cause(ranking.report))
        order = tuple(ids[i] for i in ranking.order)
        scores = dict(zip(order, ranking.scores, strict=True))
        if not self.order:
            return Judged(order, scores, ranking.score_kind, reports)
        if self.comparable(ranking):
            both = {**self.scores, **scores}
            merged = sorted((*self.order, *order), key=lambda key: -both[key])
            return Judged(tuple(merged), both, self.kind, reports)
        return Judged(tuple(dealt(self.order, order, level)), {}, "rank", reports)

    def comparable(self, ranking: Ranking) -> bool:
        """Whether scores decide between these passages and those of another ranking."""
        return ranking.score_kind == self.kind and self.kind in _ACROSS

    def of(self, ids: Sequence[str]) -> dict[str, Any]:
        """The opinion of these passages, as `refine_query` reads it."""
        if self.scores and self.kind != "rank":
            return {"scores": [self.scores.get(key, np.nan) for key in ids]}
        place = {key: i for i, key in enumerate(ids)}
        return {"order": [place[key] for key in self.order if key in place]}

    def report(self, ids: Sequence[str]) -> Report:
        """All reports together; positions count along ``ids``."""
        place = {key: i for i, key in enumerate(ids)}
        total = Report()
        for ranked, report in self.reports:
            # A list that leaves passages out (the second search alone) has no position for them.
            kept = {i for i, key in enumerate(ranked) if key in place}
            known = replace(
                report,
                missing=report.missing & kept,
                truncated=report.truncated & kept,
            )
            total += known.mapped([place.get(key, -1) for key in ranked])
        return total


def cause(report: Report) -> str:
    """Why an order was kept."""
    return report.fallbacks[0] if report.fallbacks else "the model's answer cannot be read"
