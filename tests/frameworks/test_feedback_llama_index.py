"""Feedback in LlamaIndex: over three stores, in a query engine, sync and async."""

import asyncio
import copy
import doctest
import logging
import uuid
import warnings

import numpy as np
import pytest
from llama_index.core import (
    MockEmbedding,
    StorageContext,
    VectorStoreIndex,
    get_response_synthesizer,
)
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.rerank_plugins import FirstRerank, InstructedQuery, PluginRerank
from llama_index.retrievers.rerank_plugins import FeedbackEvent, FeedbackRetriever

from rerank_plugins import BackendError, InputError, RerankError
from rerank_plugins.testing import Failing, Oracle

N, DIM, K = 200, 12, 40
VECTORS = np.random.default_rng(3).normal(size=(N, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERY = [float(x) for x in VECTORS[0]]
RELEVANCE = VECTORS @ (VECTORS[0] + VECTORS[1])
BEST = {str(i) for i in np.argsort(-RELEVANCE)[:K]}
MODES = pytest.mark.parametrize("mode", ["sync", "async"])


class Known(MockEmbedding):
    """An embedding model that knows the passages and the question; counts what it embeds."""

    def __init__(self):
        super().__init__(DIM)

    def _get_query_embedding(self, query):
        return QUERY

    async def _aget_query_embedding(self, query):
        return QUERY

    def _get_text_embedding(self, text):
        EMBEDDED.append(text)
        return VECTORS[int(text.split()[-1])].tolist()

    async def _aget_text_embedding(self, text):
        return self._get_text_embedding(text)


EMBEDDED = []


def nodes():
    return [
        TextNode(id_=str(i), text=f"passage {i}", embedding=v.tolist())
        for i, v in enumerate(VECTORS)
    ]


def simple():
    return VectorStoreIndex(nodes(), embed_model=Known())


def faiss():
    import faiss
    from llama_index.vector_stores.faiss import FaissVectorStore

    store = FaissVectorStore(faiss.IndexFlatIP(DIM))
    return VectorStoreIndex(
        nodes(),
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=Known(),
    )


class Awaited:
    """A synchronous client, awaited."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        method = getattr(self._client, name)

        async def call(*args, **kwargs):
            return method(*args, **kwargs)

        return call


def qdrant():
    import qdrant_client
    from llama_index.vector_stores.qdrant import QdrantVectorStore

    client = qdrant_client.QdrantClient(":memory:")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # payload indexes need a server
        # An embedded store belongs to one client: the asynchronous one would see an empty one.
        store = QdrantVectorStore("passages", client=client, aclient=Awaited(client))
        found = nodes()
        for node in found:
            node.id_ = str(uuid.UUID(int=int(node.id_)))  # what the store wants for ids
        context = StorageContext.from_defaults(vector_store=store)
        return VectorStoreIndex(found, storage_context=context, embed_model=Known())


def number(node):
    return node.text.split()[-1]


STORES = pytest.mark.parametrize("store", [simple, faiss, qdrant])


def oracle():
    return Oracle(key=lambda query, passage: float(RELEVANCE[int(passage.split()[-1])]))


def reranker(backend=None, **options):
    return PluginRerank(
        **{"strategy": "pair-score", "backend": backend or oracle(), "top_n": None, **options}
    )


def retrieve(retriever, mode, query="a question"):
    return retriever.retrieve(query) if mode == "sync" else asyncio.run(retriever.aretrieve(query))


@pytest.fixture
def events():
    found = []

    class Handler(BaseEventHandler):
        @classmethod
        def class_name(cls):
            return "Handler"

        def handle(self, event, **kwargs):
            if isinstance(event, FeedbackEvent):
                found.append(event.meta)

    root = get_dispatcher()
    handler = Handler()
    root.add_event_handler(handler)
    yield found
    root.event_handlers.remove(handler)


@MODES
@STORES
def test_it_finds_more_of_what_is_relevant(store, mode, events):
    index = store()
    plain = index.as_retriever(similarity_top_k=K)
    first = {number(n.node) for n in plain.retrieve("a question")}
    EMBEDDED.clear()
    model = oracle()
    found = retrieve(FeedbackRetriever(plain, reranker(model), top_k=None), mode)
    ids = [number(n.node) for n in found]
    assert len(BEST & set(ids)) > len(BEST & first) + 4
    assert first < set(ids)
    assert [n.score for n in found] == pytest.approx([RELEVANCE[int(i)] for i in ids], abs=1e-6)
    assert ids == sorted(ids, key=lambda i: -RELEVANCE[int(i)])
    assert EMBEDDED == []  # the vectors came from the store
    assert len(model.asked) == len(ids) == len({c.passage for c in model.asked})
    [meta] = events
    assert meta["skipped"] == ""
    assert meta["usage"]["searches"] == 2
    assert meta["usage"]["calls"] == len(ids)
    assert meta["rounds"][0]["angle"] == pytest.approx(25, abs=0.1)


@MODES
@STORES
@pytest.mark.parametrize("expand", ["neighbours", "both"])
def test_neighbours_of_the_best_are_reranked(store, mode, expand, events):
    plain = store().as_retriever(similarity_top_k=K)
    model = oracle()
    EMBEDDED.clear()
    part = FeedbackRetriever(plain, reranker(model), top_k=None, expand=expand, neighbours=8)
    found = retrieve(part, mode)
    [meta] = events
    assert meta["skipped"] == ""
    assert meta["found_by_feedback"] > 0
    assert meta["usage"]["calls"] == K == len({c.passage for c in model.asked})
    assert number(found[0].node) == str(np.argmax(RELEVANCE))
    assert EMBEDDED == []  # the vectors came from the store


def test_the_first_window_has_as_many_nodes_as_it_says():
    model = oracle()
    part = FeedbackRetriever(
        simple().as_retriever(similarity_top_k=K),
        reranker(model, strategy="permutation"),
        depth=20,
        expand="neighbours",
        window=10,
    )
    part.retrieve("a question")
    asked = [[part.kind for part in call.prompt.untrusted] for call in model.asked]
    assert {kinds.count("passage") for kinds in asked} == {10}
    with pytest.raises(InputError, match="window is 1"):
        FeedbackRetriever(simple().as_retriever(similarity_top_k=K), reranker(), window=1)


@MODES
def test_an_instruction_reaches_the_reranker_or_is_refused(mode, events):
    model, plain = oracle(), simple().as_retriever(similarity_top_k=K)
    query = InstructedQuery("a question", instruction="Find fleas.")
    part = FeedbackRetriever(plain, reranker(model, strategy="pointwise"))
    retrieve(part, mode, query)
    assert events[0]["skipped"] == ""
    assert model.asked
    assert all("<Instruct>: Find fleas." in call.prompt.text for call in model.asked)
    with pytest.raises(InputError, match="PairScore has no place for an instruction"):
        retrieve(FeedbackRetriever(plain, reranker()), mode, query)


@MODES
def test_a_query_engine_asks_about_no_node_twice(mode):
    model = oracle()
    retriever = FeedbackRetriever(
        simple().as_retriever(similarity_top_k=K), reranker(model), top_k=5
    )
    engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=MockLLM()))
    response = (
        engine.query("a question") if mode == "sync" else asyncio.run(engine.aquery("a question"))
    )
    assert [n.node.node_id for n in response.source_nodes] == [
        str(i) for i in np.argsort(-RELEVANCE)[:5]
    ]
    assert len(model.asked) == len({c.passage for c in model.asked}) > K


@MODES
def test_the_callers_bundle_is_not_changed(mode):
    bundle = QueryBundle("a question")
    before = copy.deepcopy(bundle)
    retriever = FeedbackRetriever(simple().as_retriever(similarity_top_k=K), reranker())
    without = retrieve(retriever, mode, bundle)
    assert bundle == before
    given = QueryBundle("a question", embedding=list(QUERY))
    same = retrieve(retriever, mode, given)
    assert given.embedding == QUERY
    assert [n.node.node_id for n in same] == [n.node.node_id for n in without]
    assert len(without) == 10


class Somewhere(BaseRetriever):
    """A third-party retriever: it uses the embedding, and shows no store."""

    def _retrieve(self, query_bundle):
        scores = VECTORS @ np.array(query_bundle.embedding, dtype=np.float32)
        best = np.argsort(-scores)[:K]
        # Distances for scores, as some stores have it.
        return [
            NodeWithScore(
                node=TextNode(id_=str(i), text=f"passage {i}"), score=float(1 - scores[i])
            )
            for i in best
        ]


@MODES
def test_any_retriever_with_nodes_embedded_again_or_not_at_all(mode, caplog):
    bundle = QueryBundle("a question", embedding=list(QUERY))
    EMBEDDED.clear()
    found = retrieve(
        FeedbackRetriever(Somewhere(), reranker(), embed_model=Known(), top_k=None), mode, bundle
    )
    assert len(found) > K
    assert len(EMBEDDED) == K  # what was found first; the refined query needs no more
    with caplog.at_level(logging.WARNING):
        found = retrieve(FeedbackRetriever(Somewhere(), reranker(), top_k=None), mode, bundle)
    assert len(found) == K
    assert "no hit came with a vector" in caplog.text
    assert found[0].node.node_id == max(
        (str(i) for i in range(N) if str(i) in {n.node.node_id for n in found}),
        key=lambda i: RELEVANCE[int(i)],
    )
    with pytest.raises(RerankError, match="embed_model"):
        retrieve(FeedbackRetriever(Somewhere(), reranker()), mode, "a question")


def down():
    return BackendError("the server is down")


class Broken(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes, query_bundle=None):
        raise RuntimeError("CUDA out of memory")


@MODES
@pytest.mark.parametrize(
    "broken", [lambda: reranker(Failing(down)), Broken], ids=["ours", "theirs"]
)
def test_a_reranker_that_fails(mode, broken, caplog, events):
    plain = simple().as_retriever(similarity_top_k=K)
    first = plain.retrieve("a question")
    with caplog.at_level(logging.WARNING):
        found = retrieve(FeedbackRetriever(plain, broken()), mode)
    assert [(n.node.node_id, n.score) for n in found] == [
        (n.node.node_id, n.score) for n in first[:10]
    ]
    assert "the reranker failed" in caplog.text
    assert "the reranker failed" in events[0]["skipped"]
    with pytest.raises(RerankError, match=r"down|CUDA"):
        retrieve(FeedbackRetriever(plain, strict(broken), raise_on_failure=True), mode)


def strict(broken):
    return broken() if broken is Broken else reranker(Failing(down), raise_on_failure=True)


class Theirs(BaseNodePostprocessor):
    """Writes into the nodes that it gets, and cuts."""

    top_n: int = 2

    def _postprocess_nodes(self, nodes, query_bundle=None):
        for node in nodes:
            node.score = 1000 - float(RELEVANCE[int(node.node.node_id)])
        return sorted(nodes, key=lambda n: n.score)[: self.top_n]


@MODES
def test_somebody_elses_reranker_is_not_cut_and_counts_by_its_order(mode):
    plain = simple().as_retriever(similarity_top_k=K)
    theirs = Theirs()
    found = retrieve(FeedbackRetriever(plain, theirs, top_k=None), mode)
    assert len(found) > K
    assert theirs.top_n == 2
    assert [n.score for n in found[:3]] == [1, 1 / 2, 1 / 3]
    assert found[0].node.node_id == str(np.argmax(RELEVANCE))


@MODES
def test_our_own_top_n_is_not_applied(mode):
    retriever = FeedbackRetriever(
        simple().as_retriever(similarity_top_k=K), FirstRerank(backend=oracle(), top_n=2), top_k=12
    )
    assert len(retrieve(retriever, mode)) == 12


def test_a_retriever_that_finds_little_is_pointed_out(caplog):
    with caplog.at_level(logging.WARNING):
        FeedbackRetriever(simple().as_retriever(), reranker())
    assert "similarity_top_k is 2" in caplog.text


@MODES
def test_blank_queries(mode):
    retriever = FeedbackRetriever(simple().as_retriever(similarity_top_k=K), reranker())
    with pytest.raises(InputError, match="blank"):
        retrieve(retriever, mode, "  ")
    found = retrieve(retriever, mode, QueryBundle(" ", embedding=list(QUERY)))
    assert len(found) == 10


@pytest.mark.parametrize(
    "options",
    [{"top_k": 0}, {"depth": 0}, {"rounds": 0}, {"fuse": "x"}, {"top_k": 5, "rerank_new": False}],
)
def test_options_that_cannot_be(options):
    with pytest.raises(InputError):
        FeedbackRetriever(simple().as_retriever(similarity_top_k=K), reranker(), **options)


@MODES
def test_many_queries_get_what_each_gets_alone(mode, events):
    retriever = FeedbackRetriever(
        simple().as_retriever(similarity_top_k=K), reranker(oracle()), top_k=5
    )
    queries = [QueryBundle(f"question {i}", embedding=VECTORS[i].tolist()) for i in range(4)]
    found = (
        retriever.retrieve_many(queries)
        if mode == "sync"
        else asyncio.run(retriever.aretrieve_many(queries, max_concurrency=2))
    )
    assert len(events) == len(queries)
    alone = [retriever.retrieve(query) for query in queries]
    assert [[(number(n.node), n.score) for n in one] for one in found] == [
        [(number(n.node), n.score) for n in one] for one in alone
    ]
    with pytest.raises(InputError, match="max_concurrency is 0"):
        asyncio.run(retriever.aretrieve_many(queries, max_concurrency=0))
    for several in (retriever.retrieve_many, lambda q: asyncio.run(retriever.aretrieve_many(q))):
        with pytest.raises(InputError, match="queries is of type str, expected a list"):
            several("ab")


def test_prompts_of_the_reranker_can_be_seen():
    retriever = FeedbackRetriever(
        simple().as_retriever(similarity_top_k=K), FirstRerank(backend=oracle())
    )
    assert any("prompt" in place for place in retriever.get_prompts())


def test_the_usage_example_runs():
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(FeedbackRetriever, "FeedbackRetriever"):
        runner.run(example)
    assert runner.summarize().attempted
    assert not runner.summarize().failed
