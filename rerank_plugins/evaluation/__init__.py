"""Collections, runs and metrics: BEIR folders, TREC files, and nDCG by ``ir_measures``."""

from .collection import Collection, load_collection
from .metrics import evaluate, evaluate_each
from .runs import Run, load_run, rerank_run

__all__ = [
    "Collection",
    "Run",
    "evaluate",
    "evaluate_each",
    "load_collection",
    "load_run",
    "rerank_run",
]
