"""Relevance feedback in Haystack: a composite retriever, and its parts as a pipeline of five.

make test                                 # once: installs the frameworks and small models
.venv/bin/python examples/09_haystack_feedback.py
"""

import asyncio

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
from haystack_integrations.components.retrievers.rerank_plugins import (
    FeedbackRetriever,
    QueryFeedback,
)
from offline import MINILM, SMOLLM2_GGUF, cranfield

collection = cranfield(200)
QUERY = next(iter(collection.queries.values()))

store = InMemoryDocumentStore()
documents = [Document(id=id_, content=text[:300]) for id_, text in collection.documents.items()]
embedder = SentenceTransformersDocumentEmbedder(
    model=MINILM, progress_bar=False, normalize_embeddings=True
)
store.write_documents(embedder.run(documents)["documents"])


def text_embedder() -> SentenceTransformersTextEmbedder:
    return SentenceTransformersTextEmbedder(
        model=MINILM, progress_bar=False, normalize_embeddings=True
    )


def ranker() -> PluginRanker:
    # With a GPU: FirstRanker(model="castorini/first_mistral", top_k=None)
    return PluginRanker(strategy="query-likelihood", model=SMOLLM2_GGUF, top_k=None)


# One component does it all; the pipeline is saved and loaded as YAML.
pipeline = Pipeline()
pipeline.add_component(
    "retriever",
    FeedbackRetriever(
        retriever=InMemoryEmbeddingRetriever(store),
        ranker=ranker(),
        text_embedder=text_embedder(),
        search_k=20,
        depth=5,
        top_k=3,
    ),
)
assert Pipeline.loads(pipeline.dumps()).to_dict()["components"].keys() == {"retriever"}
found = asyncio.run(pipeline.run_async({"retriever": {"query": QUERY}}))["retriever"]
for document in found["documents"]:
    print(f"{document.score:.3f}  {document.id}: {document.content[:60]}...")
print("rounds:", found["meta"]["rounds"], "new:", found["meta"]["found_by_feedback"])

# The same in pieces: QueryFeedback stands between two retrievers over one store.
pieces = Pipeline()
pieces.add_component("embedder", text_embedder())
pieces.add_component("first", InMemoryEmbeddingRetriever(store, top_k=5, return_embedding=True))
pieces.add_component("ranker", ranker())
pieces.add_component("feedback", QueryFeedback())
pieces.add_component("second", InMemoryEmbeddingRetriever(store, top_k=5))
pieces.connect("embedder.embedding", "first.query_embedding")
pieces.connect("embedder.embedding", "feedback.query_embedding")
pieces.connect("first.documents", "ranker.documents")
pieces.connect("ranker.documents", "feedback.documents")
pieces.connect("ranker.meta", "feedback.ranker_meta")
pieces.connect("feedback.query_embedding", "second.query_embedding")
result = pieces.run(
    {"embedder": {"text": QUERY}, "ranker": {"query": QUERY}}, include_outputs_from={"feedback"}
)
print("second search:", [d.id for d in result["second"]["documents"]])
print("feedback:", result["feedback"]["meta"])
