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

from ._fusion import Fuse, fused
from ._index.faiss import FaissIndex
from ._options import FeedbackOptions
from ._refine.methods import First, Method, Refit, Turn
from ._refine.refine import Refinement, find_method, refine_query
from ._search import FeedbackResult, ranked_by, search_with_feedback
from ._session import FeedbackSearch

__all__ = [
    "FaissIndex",
    "FeedbackOptions",
    "FeedbackResult",
    "FeedbackSearch",
    "First",
    "Fuse",
    "Method",
    "Refinement",
    "Refit",
    "Turn",
    "find_method",
    "fused",
    "ranked_by",
    "refine_query",
    "search_with_feedback",
]
