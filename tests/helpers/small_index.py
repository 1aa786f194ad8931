"""Three hundred passages with vectors, and the relevance that a user has in mind."""

import numpy as np

from rerank_plugins import Reranker
from rerank_plugins.feedback import FeedbackSearch
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

N, DIM = 300, 12
RNG = np.random.default_rng(3)
VECTORS = RNG.normal(size=(N, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERY = VECTORS[0]
RELEVANCE = VECTORS @ (VECTORS[0] + VECTORS[1])
IDS = [f"d{i}" for i in range(N)]
TEXTS = [f"passage {i}" for i in range(N)]


def key(query, passage):
    return float(RELEVANCE[int(passage.split()[-1])])


def searcher(index, strategy=None, backend=None, *, reranker=None, **options):
    reranker = reranker or Reranker(strategy or PairScore(), backend or Oracle(key=key))
    return FeedbackSearch(index, reranker, **{"k": 40, **options})
