"""`Judged`: the reranker's opinion of the passages that were found so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..ranking import Ranking, Report, ScoreKind
from ._fusion import K

ACROSS: tuple[ScoreKind, ...] = ("logit", "probability", "similarity", "grade")
"""Scores that mean the same in every list."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The passages that were reranked.

    Attributes:
        order: Their ids, best first.
        scores: By id; empty if only the order is known.
        kind: The kind of the scores.
        reports: The report of each ranking, with the ids that were ranked.
        failed: Why the last ranking failed; empty if it did not.
    """

    order: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    kind: ScoreKind = "rank"
    reports: tuple[tuple[tuple[str, ...], Report], ...] = ()
    failed: str = ""

    def with_ranking(
        self, ids: tuple[str, ...], ranking: Ranking, level: Mapping[str, float]
    ) -> "Judged":
        """Add more passages, which were ranked among themselves.

        If scores mean the same in every list, they decide. Other lists are merged by the
        retriever's scores, so that no passage is reranked twice.

        Args:
            ids: The passages that were ranked.
            ranking: Positions in ``ids``.
            level: The retriever's present score of every passage.
        """
        reports = (*self.reports, (ids, ranking.report))
        if ranking.kept_order:
            causes = (*ranking.report.fallbacks, "the model's answer cannot be read")
            return replace(self, reports=reports, failed=causes[0])
        order = tuple(ids[i] for i in ranking.order)
        scores = dict(zip(order, ranking.scores, strict=True))
        if not self.order:
            return Judged(order, scores, ranking.score_kind, reports)
        if self.comparable(ranking):
            both = {**self.scores, **scores}
            merged = sorted((*self.order, *order), key=lambda key: -both[key])
            return Judged(tuple(merged), both, self.kind, reports)
        return Judged(tuple(merge_by_level(self.order, order, level)), {}, "rank", reports)

    def with_window(self, ids: Sequence[str], ranking: Ranking) -> "Judged":
        """Add a window of passages in a new order, which comes before everything else.

        Args:
            ids: The passages of the window; some may have been ranked before.
            ranking: Positions in ``ids``; an order that was only kept counts, too.
        """
        window = [ids[i] for i in ranking.order]
        below = [key for key in self.order if key not in set(window)]
        reports = (*self.reports, (tuple(ids), ranking.report))
        return Judged((*window, *below), {}, "rank", reports)

    def comparable(self, ranking: Ranking) -> bool:
        """Whether scores decide between these passages and those of another ranking."""
        return ranking.score_kind == self.kind and self.kind in ACROSS

    def of(self, ids: Sequence[str]) -> dict[str, Any]:
        """The opinion of these passages, as arguments of `refine_query`."""
        if self.scores and self.kind != "rank":
            return {"scores": [self.scores.get(key, np.nan) for key in ids]}
        place = {key: i for i, key in enumerate(ids)}
        return {"order": [place[key] for key in self.order if key in place]}

    def report(self, ids: Sequence[str]) -> Report:
        """Sum all reports; positions count along ``ids``."""
        place = {key: i for i, key in enumerate(ids)}
        total = Report()
        for ranked, report in self.reports:
            # A list that leaves passages out (fuse="second") has no position for them.
            kept = {i for i, key in enumerate(ranked) if key in place}
            known = replace(
                report,
                missing=report.missing & kept,
                truncated=report.truncated & kept,
            )
            total += known.mapped([place.get(key, -1) for key in ranked])
        return total


def merge_by_level(one: Sequence[K], other: Sequence[K], level: Mapping[K, float]) -> list[K]:
    """Merge two ranked lists without comparing their scores.

    Each list's levels are sorted and assigned along its own order, the highest to its best key, and
    the lists are merged by the assigned levels; ties go to ``one``. Both orders stay the same.

    Examples:
        >>> merge_by_level("ab", "xy", {"a": 1.0, "b": 9.0, "x": 5.0, "y": 0.0})
        ['a', 'x', 'b', 'y']
    """
    ranked = [
        (-value, number, place, key)
        for number, keys in enumerate((one, other))
        for place, (key, value) in enumerate(
            zip(keys, sorted((level[k] for k in keys), reverse=True), strict=True)
        )
    ]
    return [key for *_, key in sorted(ranked, key=lambda entry: entry[:3])]
