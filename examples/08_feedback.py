"""Relevance feedback in plain Python: the reranker teaches the retriever, with FAISS.

make test                                 # once: installs FAISS and small models
.venv/bin/python examples/08_feedback.py
"""

import itertools
import tempfile

from offline import MINILM, cranfield
from sentence_transformers import SentenceTransformer

from rerank_plugins import Reranker
from rerank_plugins.feedback import FaissIndex, FeedbackSearch
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

collection = cranfield(400)
encoder = SentenceTransformer(MINILM, device="cpu")
texts = list(collection.documents.values())
vectors = encoder.encode(texts, normalize_embeddings=True)

with tempfile.TemporaryDirectory() as folder:
    FaissIndex.build(vectors, ids=collection.documents, texts=texts).save(folder)
    index = FaissIndex.load(folder)  # whole, or an error

grades = {
    (collection.queries[q], collection.documents[d]): grade
    for q, judged in collection.qrels.items()
    for d, grade in judged.items()
    if d in collection.documents
}
# The judgements stand for a strong reranker, which needs a GPU: load_reranker("castorini/...").
# `make demo` does this with a small language model, whose opinion is worth less.
strong = Oracle(key=lambda text, passage: grades.get((text, passage), 0))

searcher = FeedbackSearch(
    index,
    Reranker(PairScore(), strong),
    encode=lambda text: encoder.encode(text, normalize_embeddings=True),
    k=50,
    depth=20,  # rerank twenty of the fifty; the others count as less relevant
    rerank_new=False,
)
queries = dict(itertools.islice(collection.queries.items(), 5))
found = dict(zip(queries, searcher.search_many(list(queries.values())), strict=True))

for name in ("first", "second"):
    hits = wanted = 0
    for key, result in found.items():
        relevant = {d for d in collection.qrels[key] if d in collection.documents}
        hits += len(relevant & set(getattr(result, name)))
        wanted += len(relevant)
    print(f"{name} search: {hits} of {wanted} relevant passages")
for key, result in found.items():
    [refined] = result.refinements
    said = (
        result.skipped or f"turned by {refined.angle:.0f} degrees, {len(result.new)} new passages"
    )
    print(f"query {key}: {said}; {result.usage.calls} calls, {result.usage.searches} searches")
