"""Significance of differences between runs: intervals and paired tests, by SciPy."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._extras import extra
from ..errors import InputError
from ._collection import Qrels
from ._metrics import evaluate_each
from ._runs import Run

RESAMPLES = 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs over the queries that both answer.

    Attributes:
        measure: The measure, as ``ir_measures`` writes it.
        first: Its mean for the first run.
        second: Its mean for the second run.
        low: Lower end of the 95 % interval of the difference, second minus first.
        high: Upper end of that interval.
        p_value: The p-value of a two-sided paired randomization test: the share of random signs
            that give a difference at least as large.
        changes: Second minus first, by query.
    """

    measure: str
    first: float
    second: float
    low: float
    high: float
    p_value: float
    changes: Mapping[str, float]

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def wins(self) -> int:
        """Queries for which the second run is better."""
        return sum(change > 0 for change in self.changes.values())

    @property
    def losses(self) -> int:
        """Queries for which the first run is better."""
        return sum(change < 0 for change in self.changes.values())

    @property
    def ties(self) -> int:
        """Queries for which they are equal."""
        return len(self.changes) - self.wins - self.losses

    def most_changed(self, n: int) -> list[tuple[str, float]]:
        """The ``n`` queries with the largest changes, either way; ties in the runs' order."""
        changed = [(query, change) for query, change in self.changes.items() if change]
        return sorted(changed, key=lambda item: -abs(item[1]))[:n]


def compare(
    first: Run, second: Run, qrels: Qrels, measure: str = "nDCG@10", *, seed: int = 0
) -> Comparison:
    """Compare two runs, query by query.

    Args:
        first: Document ids by query id, best first.
        second: Document ids by query id, of another ranker.
        qrels: Grade by query id and document id.
        measure: A name as ``ir_measures`` writes it.
        seed: The seed of the resampling.

    Raises:
        InputError: The measure is not known, or no judged query is in both runs.
        MissingExtraError: ``ir_measures`` or SciPy is not installed.

    References:
        Smucker, Allan & Carterette, A comparison of statistical significance tests for
        information retrieval evaluation, CIKM 2007.

    Examples:
        >>> qrels = {"q": {"a": 1}, "r": {"b": 1}}
        >>> found = compare({"q": ["b", "a"], "r": ["b"]}, {"q": ["a"], "r": ["b"]}, qrels, "RR@10")
        >>> found.difference, found.wins, found.ties
        (0.25, 1, 1)
    """
    before, after = (evaluate_each(run, qrels, measure) for run in (first, second))
    return compare_values(before, after, measure, seed=seed)


def compare_values(
    first: Mapping[str, float], second: Mapping[str, float], measure: str, *, seed: int = 0
) -> Comparison:
    """`compare`, from the measured values of each query.

    Raises:
        InputError: No query has both.
        MissingExtraError: SciPy is not installed.
    """
    common = [query for query in first if query in second]
    if not common:
        raise InputError("the runs have no judged query in common")
    changes = {query: second[query] - first[query] for query in common}
    low, high = interval(list(changes.values()), seed=seed)
    return Comparison(
        measure=measure,
        first=sum(first[query] for query in common) / len(common),
        second=sum(second[query] for query in common) / len(common),
        low=low,
        high=high,
        p_value=_p_value(list(changes.values()), seed),
        changes=changes,
    )


def interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean, by a percentile bootstrap over the queries.

    Raises:
        InputError: There are no values.
        MissingExtraError: SciPy is not installed.

    Examples:
        >>> interval([0.5, 0.5, 0.5])
        (0.5, 0.5)
    """
    if not values:
        raise InputError("values is empty, expected at least one value")
    if min(values) == max(values):
        return float(values[0]), float(values[0])
    import numpy as np

    found = extra("scipy.stats", "evaluation").bootstrap(
        (list(values),),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _p_value(changes: Sequence[float], seed: int) -> float:
    """The p-value of a paired randomization test, two-sided."""
    if len(changes) == 1 or not any(changes):
        return 1.0
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few queries give a coarse distribution
        found = extra("scipy.stats", "evaluation").permutation_test(
            (list(changes),),
            lambda sample, axis: np.mean(sample, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(seed),
        )
    return float(found.pvalue)
