"""Metrics, by ``ir_measures`` over trec_eval: linear gain, ties broken by the order given."""

from collections.abc import Sequence
from typing import Any

from ..errors import InputError, MissingExtraError
from ._collection import Qrels
from ._runs import Run


def evaluate(run: Run, qrels: Qrels, measures: Sequence[str] = ("nDCG@10",)) -> dict[str, float]:
    """Mean of each measure over the judged queries that the run answers.

    Args:
        run: Document ids by query id, best first.
        qrels: Grade by query id and document id.
        measures: Names as ``ir_measures`` writes them: ``nDCG@10``, ``R@100``, ``RR@10``.

    Raises:
        InputError: A measure's name is not known, or no query is judged.
        MissingExtraError: ``ir_measures`` is not installed.

    Examples:
        >>> evaluate({"q": ["a", "b"]}, {"q": {"b": 1}}, ["RR@10"])
        {'RR@10': 0.5}
    """
    parsed, judged, scored = _prepared(run, qrels, measures)
    import ir_measures  # imported here: an extra, which `_prepared` has found

    found = ir_measures.calc_aggregate(parsed, judged, scored)
    return {name: float(found[m]) for name, m in zip(measures, parsed, strict=True)}


def evaluate_each(run: Run, qrels: Qrels, measure: str = "nDCG@10") -> dict[str, float]:
    """One measure of every judged query that the run answers.

    Arguments and errors as for `evaluate`.

    Examples:
        >>> evaluate_each({"q": ["a", "b"], "r": ["c"]}, {"q": {"b": 1}, "r": {"c": 1}}, "RR@10")
        {'q': 0.5, 'r': 1.0}
    """
    return evaluate_queries(run, qrels, (measure,))[measure]


def evaluate_queries(
    run: Run, qrels: Qrels, measures: Sequence[str] = ("nDCG@10",)
) -> dict[str, dict[str, float]]:
    """Each measure of every judged query that the run answers, by measure and query.

    Arguments and errors as for `evaluate`.

    Examples:
        >>> evaluate_queries({"q": ["a", "b"]}, {"q": {"b": 1}}, ["RR@10", "R@1"])
        {'RR@10': {'q': 0.5}, 'R@1': {'q': 0.0}}
    """
    parsed, judged, scored = _prepared(run, qrels, measures)
    import ir_measures  # imported here: an extra, which `_prepared` has found

    found: dict[tuple[Any, str], float] = {
        (value.measure, value.query_id): float(value.value)
        for value in ir_measures.iter_calc(parsed, judged, scored)
    }
    return {
        name: {query: found[measure, query] for query in scored}
        for name, measure in zip(measures, parsed, strict=True)
    }


def _prepared(run: Run, qrels: Qrels, measures: Sequence[str]) -> tuple[Any, Any, Any]:
    """Measures, judgements and scores as ``ir_measures`` wants them."""
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtraError(
            "ir_measures is not installed",
            hint='Install it with: pip install "rerank-plugins[evaluation]".',
        ) from error
    try:
        parsed = [ir_measures.parse_measure(name) for name in measures]
    except (NameError, ValueError, SyntaxError) as error:
        raise InputError(f"unknown measure: {error}") from error
    judged = {q: dict(qrels[q]) for q in run if q in qrels}
    if not judged:
        raise InputError("no query of the run is judged")
    # Descending integers stand for the order, so that trec_eval's rule for ties never applies.
    return parsed, judged, {q: {d: float(-i) for i, d in enumerate(run[q])} for q in judged}
