"""Metrics, by ``ir_measures`` over trec_eval: linear gain, ties broken by the order given."""

from collections.abc import Sequence
from typing import Any

from .._checks import close_to, either
from .._extras import extra
from ..errors import InputError
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
    library, parsed, judged, scored = _prepared(run, qrels, measures)
    found = library.calc_aggregate(parsed, judged, scored)
    return {name: float(found[m]) for name, m in zip(measures, parsed, strict=True)}


def evaluate_each(run: Run, qrels: Qrels, measure: str = "nDCG@10") -> dict[str, float]:
    """One measure of every judged query that the run answers.

    Arguments and errors are those of `evaluate`.

    Examples:
        >>> evaluate_each({"q": ["a", "b"], "r": ["c"]}, {"q": {"b": 1}, "r": {"c": 1}}, "RR@10")
        {'q': 0.5, 'r': 1.0}
    """
    return evaluate_queries(run, qrels, (measure,))[measure]


def evaluate_queries(
    run: Run, qrels: Qrels, measures: Sequence[str] = ("nDCG@10",)
) -> dict[str, dict[str, float]]:
    """Each measure of every judged query that the run answers, by measure and query.

    Arguments and errors are those of `evaluate`.

    Examples:
        >>> evaluate_queries({"q": ["a", "b"]}, {"q": {"b": 1}}, ["RR@10", "R@1"])
        {'RR@10': {'q': 0.5}, 'R@1': {'q': 0.0}}
    """
    library, parsed, judged, scored = _prepared(run, qrels, measures)
    found: dict[tuple[Any, str], float] = {
        (value.measure, value.query_id): float(value.value)
        for value in library.iter_calc(parsed, judged, scored)
    }
    return {
        name: {query: found[measure, query] for query in scored}
        for name, measure in zip(measures, parsed, strict=True)
    }


def _parsed(library: Any, name: str) -> Any:
    base = name.partition("@")[0]
    try:
        measure = library.parse_measure(name)
        measure.validate_params()
    except (NameError, ValueError, SyntaxError) as error:
        known = library.measures.registry
        near = [] if base in known else close_to(base, known)
        meant = f"Did you mean {either(near)}?" if near else "Write it as nDCG@10, R@100 or RR@10."
        raise InputError(f"unknown measure {name!r:.80}", hint=meant) from error
    except AssertionError as error:
        raise InputError(
            f"the measure {name!r} needs a cutoff", hint=f"Write {base}@10."
        ) from error
    return measure


def _prepared(run: Run, qrels: Qrels, measures: Sequence[str]) -> tuple[Any, Any, Any, Any]:
    """``ir_measures``, and measures, judgements and scores in the form that it takes."""
    library = extra("ir_measures", "evaluation")
    parsed = [_parsed(library, name) for name in measures]
    judged = {q: dict(qrels[q]) for q in run if q in qrels}
    if not judged:
        raise InputError("no query of the run is judged")
    # Descending integers stand for the order, so that trec_eval's rule for ties never applies.
    scored = {q: {d: float(-i) for i, d in enumerate(run[q])} for q in judged}
    return library, parsed, judged, scored
