"""A run with its name, its measures and its cost: a line of a table of rerankers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..ranking import Usage
from ._collection import Qrels
from ._metrics import evaluate_queries
from ._runs import Run
from ._significance import Comparison, compare_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One ranker over the judged queries that it answers.

    Attributes:
        name: The ranker's.
        run: Document ids by query id, best first.
        each: Every measure of every query, by measure and query.
        unanswered: How many judged queries the run lacks; they are in no mean.
        usage: What all the rankings cost together; None where that is not known.
        fallbacks: Queries whose order is, in part, the input's because something failed.
    """

    name: str
    run: Run = field(repr=False)
    each: Mapping[str, Mapping[str, float]] = field(repr=False)
    unanswered: int = 0
    usage: Usage | None = None
    fallbacks: int = 0

    @property
    def queries(self) -> int:
        """How many queries were measured."""
        return len(next(iter(self.each.values())))

    @property
    def measures(self) -> dict[str, float]:
        """The mean of each measure."""
        return {name: sum(v.values()) / len(v) for name, v in self.each.items()}


def measured(
    name: str,
    run: Run,
    qrels: Qrels,
    measures: Sequence[str] = ("nDCG@10",),
    *,
    usage: Usage | None = None,
    fallbacks: int = 0,
) -> Measured:
    """Measure a run.

    Args:
        name: What the table calls it.
        run: Document ids by query id, best first.
        qrels: Grade by query id and document id.
        measures: Names as ``ir_measures`` writes them; at least one.
        usage: What it cost.
        fallbacks: How many of its queries fell back on the input's order.

    Raises:
        InputError: A measure's name is not known, or no query is judged.
        MissingExtraError: ``ir_measures`` is not installed.

    Examples:
        >>> found = measured("bm25", {"q": ["a", "b"]}, {"q": {"b": 1}, "r": {"a": 1}}, ["RR@10"])
        >>> found.measures, found.unanswered
        ({'RR@10': 0.5}, 1)
    """
    each = evaluate_queries(run, qrels, measures)
    return Measured(
        name=name,
        run=run,
        each=each,
        unanswered=sum(query not in run for query in qrels),
        usage=usage,
        fallbacks=fallbacks,
    )


def comparisons(rows: Sequence[Measured]) -> list[Comparison | None]:
    """Each row against the first, by the first measure; None for the first itself.

    Raises:
        InputError: A row has no query in common with the first.
        MissingExtraError: SciPy is not installed.
    """
    measure = next(iter(rows[0].each))
    first = rows[0].each[measure]
    return [
        None if row is rows[0] else compare_values(first, row.each[measure], measure)
        for row in rows
    ]
