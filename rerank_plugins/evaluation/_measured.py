"""Runs with names, measures and costs: the lines of a table of rerankers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..errors import InputError
from ..ranking import Usage
from ._collection import Qrels
from ._metrics import evaluate_queries
from ._runs import Run
from ._significance import Comparison, compare_values

CostKind = Literal["seconds", "tokens", "calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One ranker over the judged queries that it answers.

    Attributes:
        name: The ranker's name.
        run: Document ids by query id, best first.
        each: Every measure of every query, by measure and query.
        unanswered: How many judged queries the run lacks; they are in no mean.
        usage: The cost of all rankings together; None where it is not known.
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
        """The number of queries that were measured."""
        return len(next(iter(self.each.values())))

    @property
    def measures(self) -> dict[str, float]:
        """The mean of each measure."""
        return {name: sum(v.values()) / len(v) for name, v in self.each.items()}

    def changes_from(self, first: "Measured", measure: str) -> dict[str, float]:
        """The change of a measure from another ranker, of every query that both answer.

        Raises:
            InputError: There is no such query.
        """
        before, after = first.each[measure], self.each[measure]
        if not (changes := {q: after[q] - before[q] for q in before if q in after}):
            raise InputError("the runs have no judged query in common")
        return changes

    def cost_per_query(self, cost: CostKind) -> float | None:
        """The mean cost of a query; None where it is not known.

        Args:
            cost: ``"seconds"``, ``"tokens"`` (read and written) or ``"calls"``.
        """
        if self.usage is None or not self.queries:
            return None
        total = {
            "seconds": self.usage.seconds,
            "tokens": self.usage.prompt_tokens + self.usage.generated_tokens,
            "calls": self.usage.calls,
        }[cost]
        return total / self.queries


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
        name: The name of the run in a table.
        run: Document ids by query id, best first.
        qrels: Grade by query id and document id.
        measures: Names as ``ir_measures`` writes them; at least one.
        usage: Its cost.
        fallbacks: The number of its queries that kept the input's order, in part or whole.

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
    """Compare each row with the first, by the first measure; None for the first itself.

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
