"""Relevance feedback: a reranker's opinion, distilled into the retriever's query.

`refine_query` is the numerical half for vectors and `expand_query` that for words,
`search_with_feedback` and `search_with_words` are the plans around them, `FaissIndex`,
`QdrantIndex` and `BM25Index` indexes to search in, and `FeedbackSearch` all of it together.
"""

from .._extras import extra

extra("numpy", "feedback")  # everything here needs it: its absence is one sentence

from ..evaluation import BM25Index  # noqa: E402
from ._adaptive import gar, slide_gar  # noqa: E402
from ._e2rank import E2Rank  # noqa: E402
from ._fusion import Fuse, fused  # noqa: E402
from ._index.faiss import FaissIndex  # noqa: E402
from ._index.qdrant import QdrantIndex  # noqa: E402
from ._options import Expand, FeedbackOptions, FeedbackResult  # noqa: E402
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
from ._search import ranked_by, search_with_feedback  # noqa: E402
from ._session import FeedbackSearch  # noqa: E402
from ._word_search import TextSearch, search_with_words  # noqa: E402
from ._words import Expansion, Words, expand_query  # noqa: E402

__all__ = [
    "BM25Index",
    "E2Rank",
    "Expand",
    "Expansion",
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
    "TextSearch",
    "Turn",
    "Words",
    "expand_query",
    "find_method",
    "fused",
    "gar",
    "ranked_by",
    "refine_query",
    "search_with_feedback",
    "search_with_words",
    "slide_gar",
]
