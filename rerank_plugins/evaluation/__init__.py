"""Collections, runs, metrics by ``ir_measures``, and comparisons of runs by SciPy."""

from ._bm25 import BM25Index, bm25_scores, bm25_settings
from ._calibration import (
    SCORES_ALONE,
    Calibration,
    Probabilities,
    Reliability,
    ScoredList,
    brier_score,
    calibrate,
    calibration_error,
    fit_probabilities,
)
from ._collection import Collection, Qrels, load_collection, synthetic_origin, write_qrels
from ._measured import CostKind, Measured, comparisons, measured
from ._metrics import evaluate, evaluate_each, evaluate_queries
from ._runs import (
    Run,
    Scores,
    check_run,
    judged_run,
    load_run,
    load_scores,
    rerank_run,
    run_lines,
    run_passages,
    write_run,
)
from ._significance import Comparison, compare, compare_values, interval

__all__ = [
    "SCORES_ALONE",
    "BM25Index",
    "Calibration",
    "Collection",
    "Comparison",
    "CostKind",
    "Measured",
    "Probabilities",
    "Qrels",
    "Reliability",
    "Run",
    "ScoredList",
    "Scores",
    "bm25_scores",
    "bm25_settings",
    "brier_score",
    "calibrate",
    "calibration_error",
    "check_run",
    "compare",
    "compare_values",
    "comparisons",
    "evaluate",
    "evaluate_each",
    "evaluate_queries",
    "fit_probabilities",
    "interval",
    "judged_run",
    "load_collection",
    "load_run",
    "load_scores",
    "measured",
    "rerank_run",
    "run_lines",
    "run_passages",
    "synthetic_origin",
    "write_qrels",
    "write_run",
]
