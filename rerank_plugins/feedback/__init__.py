"""Relevance feedback: a reranker's opinion, distilled into the retriever's query vector.

`refine_query` is the numerical half, `search_with_feedback` the plan around it, `FaissIndex` an
index to search in (`QdrantIndex` another), and `FeedbackSearch` all of it together.
"""

from .._extras import extra

extra("numpy", "feedback")  # everything here needs it: its absence is one sentence

from ._adaptive import gar, slide_gar  # noqa: E402
from ._e2rank import E2Rank  # noqa: E402
from ._fusion import Fuse, fused  # noqa: E402
from ._index.faiss import FaissIndex  # noqa: E402
from ._index.qdrant import QdrantIndex  # noqa: E402
from ._refine import (  # noqa: E402
    First,
    Method,
    QdrantNaive,
    Refinement,
    Refit,
    Sefr,
    Turn,
    find_method,
    refine_query,
)
from ._search import (  # noqa: E402
    Expand,
    FeedbackOptions,
    FeedbackResult,
    ranked_by,
    search_with_feedback,
)
from ._session import FeedbackSearch  # noqa: E402

__all__ = [
    "E2Rank",
    "Expand",
    "FaissIndex",
    "FeedbackOptions",
    "FeedbackResult",
    "FeedbackSearch",
    "First",
    "Fuse",
    "Method",
    "QdrantIndex",
    "QdrantNaive",
    "Refinement",
    "Refit",
    "Sefr",
    "Turn",
    "find_method",
    "fused",
    "gar",
    "ranked_by",
    "refine_query",
    "search_with_feedback",
    "slide_gar",
]
