"""Feedback by words around the text retrievers of both frameworks, sync and async."""

import asyncio

import pytest
from haystack import Document, Pipeline, component
from haystack.components.embedders import MockTextEmbedder
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
from haystack_integrations.components.retrievers.rerank_plugins import (
    FeedbackRetriever,
)
from llama_index.core import get_response_synthesizer
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.rerank_plugins import PluginRerank
from llama_index.retrievers.rerank_plugins import FeedbackRetriever as NodeFeedbackRetriever
from small_words import HIDDEN, IDS, PASSAGES, QUERY, TEXTS, key

from rerank_plugins import InputError, UnknownNameError
from rerank_plugins.feedback import BM25Index
from rerank_plugins.testing import Oracle

MODES = pytest.mark.parametrize("mode", ["sync", "async"])
NODES = [TextNode(id_=id_, text=text) for id_, text in TEXTS.items()]


def haystack(retriever=None, **options):
    if retriever is None:
        store = InMemoryDocumentStore()
        store.write_documents([Document(id=i, content=t) for i, t in TEXTS.items()])
        retriever = InMemoryBM25Retriever(store)
    ranker = PluginRanker(strategy="pair-score", backend=Oracle(key=key))
    given = {"top_k": 20, "search_k": 20, "method": "bold"}
    return FeedbackRetriever(retriever=retriever, ranker=ranker, **{**given, **options})


def run(made, mode, **inputs):
    return made.run(**inputs) if mode == "sync" else asyncio.run(made.run_async(**inputs))


@MODES
def test_haystack_searches_again_with_words(mode):
    pipeline = Pipeline()
    pipeline.add_component("feedback", haystack())
    inputs = {"feedback": {"query": QUERY}}
    if mode == "sync":
        found = pipeline.run(inputs)["feedback"]
    else:
        found = asyncio.run(pipeline.run_async(inputs))["feedback"]
    assert {d.id for d in found["documents"]} >= HIDDEN
    meta = found["meta"]
    assert (meta["skipped"], meta["found_by_feedback"] >= len(HIDDEN)) == ("", True)
    [added] = meta["rounds"]
    assert added["query"].endswith(f" {QUERY}")
    assert "lifespan" in added["terms"]
    assert meta["usage"]["searches"] == 2
    assert found["query_embedding"] == []


def test_haystack_runs_many_queries():
    found = haystack().run_many(queries=[QUERY, "wolves"])
    assert {d.id for d in found[0]["documents"]} >= HIDDEN
    assert {d.id for d in found[1]["documents"]} >= {f"other{i}" for i in range(12)}


@component
class Hybrid:
    """Searches by words, and wants the query's embedding too."""

    def __init__(self):
        self.asked = []

    @component.output_types(documents=list[Document])
    def run(self, query: str, query_embedding: list[float], filters=None, top_k: int = 10):
        self.asked.append((query, query_embedding, filters))
        hits = BM25Index.build(PASSAGES, ids=IDS).search(query, top_k)
        return {"documents": [Document(id=h.id, content=h.text, score=h.score) for h in hits]}


@MODES
def test_a_hybrid_retriever_keeps_the_embedding(mode):
    retriever = Hybrid()
    filters = {"field": "meta.year", "operator": "==", "value": 1}
    found = run(haystack(retriever), mode, query=QUERY, query_embedding=[0.5, 1.0], filters=filters)
    (first, *one), (second, *other) = retriever.asked
    assert one == other == [[0.5, 1.0], filters]
    assert first == QUERY != second
    assert found["query_embedding"] == [0.5, 1.0]
    embedded = haystack(Hybrid(), text_embedder=MockTextEmbedder(dimension=3))
    assert len(embedded.run(query=QUERY)["query_embedding"]) == 3


def test_haystack_refuses_what_does_not_go_with_words():
    with pytest.raises(InputError, match="searches by text"):
        haystack(expand="neighbours")
    with pytest.raises(InputError, match="searches by text alone"):
        haystack().run(query=QUERY, query_embedding=[1.0])
    with pytest.raises(UnknownNameError, match="refit"):
        haystack(method="refit")
    assert haystack(method={"name": "bold", "terms": 3}).run(query=QUERY)["meta"]["skipped"] == ""


class BM25Retriever(BaseRetriever):
    """Named like the one of LlamaIndex's own package, which searches in the same way."""

    def __init__(self):
        self.asked, self.similarity_top_k = [], 20
        self._index = BM25Index.build(PASSAGES, ids=IDS)
        super().__init__()

    def _retrieve(self, query_bundle):
        self.asked.append(query_bundle)
        hits = self._index.search(query_bundle.query_str, self.similarity_top_k)
        return [NodeWithScore(node=NODES[IDS.index(h.id)], score=h.score) for h in hits]


RERANKER = PluginRerank(strategy="pair-score", backend=Oracle(key=key))


def packaged():
    """The retriever of LlamaIndex's own package, where it is installed."""
    module = pytest.importorskip("llama_index.retrievers.bm25")
    return module.BM25Retriever(nodes=NODES, similarity_top_k=20)


@MODES
@pytest.mark.parametrize("build", [BM25Retriever, packaged])
def test_llama_index_searches_again_with_words(build, mode):
    retriever = build()
    made = NodeFeedbackRetriever(retriever, RERANKER, top_k=20, method="bold")
    engine = RetrieverQueryEngine(made, get_response_synthesizer(llm=MockLLM()))
    answer = engine.query(QUERY) if mode == "sync" else asyncio.run(engine.aquery(QUERY))
    assert {node.node.node_id for node in answer.source_nodes} >= HIDDEN
    if hasattr(retriever, "asked"):
        first, second = retriever.asked
        assert (first.query_str, second.embedding_strs) == (QUERY, [QUERY])
        assert second.query_str.endswith(f" {QUERY}")


def test_llama_index_takes_any_retriever_that_is_said_to_search_by_text():
    class Searches(BaseRetriever):
        inner = BM25Retriever()

        def _retrieve(self, query_bundle):
            return self.inner.retrieve(query_bundle)

    made = NodeFeedbackRetriever(Searches(), RERANKER, expand="words", method="bold", top_k=None)
    bundle = QueryBundle(QUERY, embedding=[1.0, 0.0])
    assert {node.node.node_id for node in made.retrieve(bundle)} >= HIDDEN
    assert {tuple(asked.embedding) for asked in Searches.inner.asked} == {(1.0, 0.0)}


def test_llama_index_refuses_neighbours_of_words():
    with pytest.raises(InputError, match="searches by text"):
        NodeFeedbackRetriever(BM25Retriever(), RERANKER, expand="neighbours")
    with pytest.raises(UnknownNameError, match="first"):
        NodeFeedbackRetriever(BM25Retriever(), RERANKER, method="first")
