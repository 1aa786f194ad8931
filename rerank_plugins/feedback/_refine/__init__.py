"""The numerical half of relevance feedback: pure functions on arrays."""

from .opinion import FloatArray
from .published import First, Refit
from .qdrant import QdrantNaive, Sefr
from .refine import (
    NEEDS_SCORES,
    Refinement,
    find_method,
    keep_length,
    needs_scores,
    refine_query,
    replaced,
)
from .turn import Method, Turn

__all__ = [
    "NEEDS_SCORES",
    "First",
    "FloatArray",
    "Method",
    "QdrantNaive",
    "Refinement",
    "Refit",
    "Sefr",
    "Turn",
    "find_method",
    "keep_length",
    "needs_scores",
    "refine_query",
    "replaced",
]
