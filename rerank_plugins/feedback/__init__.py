"""Relevance feedback: what the reranker liked, distilled into the retriever's query vector.

`refine_query` is the numerical half, `search_with_feedback` the plan around it, `FaissIndex` an
index to search in, and `FeedbackSearch` all of it together.
"""

try:
    import numpy as _numpy  # noqa: F401 - to say what is missing in one sentence
except ImportError as error:
    from ..errors import MissingExtraError

    raise MissingExtraError(
        "numpy is not installed", hint='Install it with: pip install "rerank-plugins[feedback]".'
    ) from error

from .faiss_index import FaissIndex
from .fusion import fused
from .methods import First, Method, Refit, Turn
from .options import FeedbackOptions
from .refine import Refinement, refine_query
from .retriever import FeedbackSearch
from .search import FeedbackResult, ranked_by, search_with_feedback

__all__ = [
    "FaissIndex",
    "FeedbackOptions",
    "FeedbackResult",
    "FeedbackSearch",
    "First",
    "Method",
    "Refinement",
    "Refit",
    "Turn",
    "fused",
    "ranked_by",
    "refine_query",
    "search_with_feedback",
]
