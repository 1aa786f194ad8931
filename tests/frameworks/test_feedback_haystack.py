"""Feedback in Haystack: through real pipelines, over three stores, sync and async."""

import asyncio
import inspect
import logging
import re

import numpy as np
import pytest
from haystack import Document, Pipeline, component
from haystack.components.embedders import MockDocumentEmbedder, MockTextEmbedder
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.core.errors import PipelineRuntimeError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.rankers.rerank_plugins import FirstRanker, PluginRanker
from haystack_integrations.components.retrievers.rerank_plugins import (
    FeedbackRetriever,
    QueryFeedback,
)

from rerank_plugins import BackendError, InputError, RerankError, UnknownNameError
from rerank_plugins.testing import Failing, Oracle

N, DIM, K = 200, 12, 40
VECTORS = np.random.default_rng(3).normal(size=(N, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERY = [float(x) for x in VECTORS[0]]
RELEVANCE = VECTORS @ (VECTORS[0] + VECTORS[1])
BEST = {str(i) for i in np.argsort(-RELEVANCE)[:K]}
MODES = pytest.mark.parametrize("mode", ["sync", "async"])


def documents():
    return [
        Document(id=str(i), content=f"passage {i}", embedding=v.tolist())
        for i, v in enumerate(VECTORS)
    ]


def in_memory(**options):
    store = InMemoryDocumentStore()
    store.write_documents(documents())
    return InMemoryEmbeddingRetriever(store, top_k=K, **options)


def faiss(**options):
    from haystack_integrations.components.retrievers.faiss import FAISSEmbeddingRetriever
    from haystack_integrations.document_stores.faiss import FAISSDocumentStore

    store = FAISSDocumentStore(embedding_dim=DIM)
    store.write_documents(documents())
    return FAISSEmbeddingRetriever(document_store=store, top_k=K)


class Awaited:
    """A synchronous client, awaited."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        method = getattr(self._client, name)

        async def call(*args, **kwargs):
            return method(*args, **kwargs)

        return call


def qdrant(**options):
    from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
    from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

    store = QdrantDocumentStore(":memory:", embedding_dim=DIM, similarity="dot_product")
    store.write_documents(documents())
    # An embedded store belongs to one client: the asynchronous one would see an empty one.
    store._async_client = Awaited(store._client)
    return QdrantEmbeddingRetriever(store, top_k=K, **options)


STORES = pytest.mark.parametrize("store", [in_memory, faiss, qdrant])


def oracle():
    return Oracle(key=lambda query, passage: float(RELEVANCE[int(passage.split()[-1])]))


def ranker(backend=None, **options):
    options = {"strategy": "pair-score", "top_k": None, **options}
    return PluginRanker(backend=backend or oracle(), **options)


def run(part, mode, **inputs):
    return part.run(**inputs) if mode == "sync" else asyncio.run(part.run_async(**inputs))


def run_many(part, mode, **inputs):
    if mode == "sync":
        return part.run_many(**inputs)
    return asyncio.run(part.run_many_async(**inputs, max_concurrency=2))


def found_ids(result):
    return [d.id for d in result["documents"]]


@MODES
@STORES
def test_the_retriever_finds_more_of_what_is_relevant(store, mode):
    retriever = store()
    model = oracle()
    composite = FeedbackRetriever(retriever=retriever, ranker=ranker(model), top_k=None, search_k=K)
    first = {d.id for d in retriever.run(query_embedding=QUERY, top_k=K)["documents"]}
    result = run(composite, mode, query="a question", query_embedding=QUERY)
    found = found_ids(result)
    assert len(BEST & set(found)) > len(BEST & first) + 4
    assert first < set(found)
    assert result["meta"]["skipped"] == ""
    assert result["meta"]["found_by_feedback"] == len(found) - len(first)
    assert found == sorted(found, key=lambda i: -RELEVANCE[int(i)])
    assert [d.score for d in result["documents"]] == pytest.approx(
        [RELEVANCE[int(i)] for i in found], abs=1e-6
    )
    assert all(d.embedding is None for d in result["documents"])
    # Nothing was asked twice, and the model's usage is the ranker's own.
    assert len(model.asked) == len(found) == result["meta"]["usage"]["calls"]
    assert result["meta"]["usage"]["searches"] == 2
    assert np.linalg.norm(result["query_embedding"]) == pytest.approx(
        np.linalg.norm(QUERY), abs=1e-5
    )


@MODES
@STORES
def test_a_pipeline_of_five_components_asks_about_no_document_twice(store, mode):
    """embedder -> retriever -> ranker -> feedback -> retriever: two retrievers over one store."""
    first = store(return_embedding=True) if store is not faiss else store()
    held = getattr(first, "document_store", None) or first._document_store
    second = type(first)(document_store=held, top_k=K)
    model = oracle()
    pipeline = Pipeline()
    pipeline.add_component("embedder", Fixed())
    pipeline.add_component("first", first)
    pipeline.add_component("ranker", ranker(model))
    pipeline.add_component("feedback", QueryFeedback())
    pipeline.add_component("second", second)
    pipeline.connect("embedder.embedding", "first.query_embedding")
    pipeline.connect("embedder.embedding", "feedback.query_embedding")
    pipeline.connect("first.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "feedback.documents")
    pipeline.connect("ranker.meta", "feedback.ranker_meta")
    pipeline.connect("feedback.query_embedding", "second.query_embedding")
    data = {"embedder": {"text": "a question"}, "ranker": {"query": "a question"}}
    kept = {"ranker", "feedback"}
    result = (
        pipeline.run(data, include_outputs_from=kept)
        if mode == "sync"
        else asyncio.run(pipeline.run_async(data, include_outputs_from=kept))
    )
    before, after = set(found_ids(result["ranker"])), set(found_ids(result["second"]))
    assert len(BEST & after) > len(BEST & before) + 4
    assert len(model.asked) == K
    assert len({call.passage for call in model.asked}) == K
    assert result["feedback"]["meta"]["angle"] == pytest.approx(25, abs=0.1)


@component
class Fixed:
    """A text embedder of one vector."""

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict:
        return {"embedding": QUERY}


@MODES
def test_a_text_embedder_embeds_and_an_embedding_comes_before_it(mode):
    composite = FeedbackRetriever(
        retriever=in_memory(), ranker=ranker(), text_embedder=Fixed(), search_k=K
    )
    by_text = run(composite, mode, query="a question")
    by_vector = run(composite, mode, query="a question", query_embedding=QUERY)
    assert found_ids(by_text) == found_ids(by_vector)
    assert len(found_ids(by_text)) == 10
    bare = FeedbackRetriever(retriever=in_memory(), ranker=ranker())
    with pytest.raises(RerankError, match="text_embedder"):
        run(bare, mode, query="a question")


@MODES
def test_documents_without_embeddings(mode, caplog):
    """A retriever that gives none away: the document embedder, or a warning."""

    @component
    class Hides:
        @component.output_types(documents=list[Document])
        def run(
            self,
            query_embedding: list[float],
            filters: dict | None = None,
            top_k: int | None = None,
        ) -> dict:
            return in_memory().run(query_embedding=query_embedding, filters=filters, top_k=top_k)

    with caplog.at_level(logging.WARNING):
        result = run(
            FeedbackRetriever(retriever=Hides(), ranker=ranker(), search_k=K),
            mode,
            query="q",
            query_embedding=QUERY,
        )
    assert result["meta"]["skipped"] == "no hit came with a vector"
    assert "no hit came with a vector" in caplog.text
    first = in_memory().run(query_embedding=QUERY, top_k=K)["documents"]
    assert found_ids(result) == sorted((d.id for d in first), key=lambda i: -RELEVANCE[int(i)])[:10]
    assert result["query_embedding"] == pytest.approx(QUERY)

    @component
    class Again:
        """The embedder that the store was filled with."""

        calls = 0

        @component.output_types(documents=list[Document])
        def run(self, documents: list[Document]) -> dict:
            from dataclasses import replace

            Again.calls += 1
            return {
                "documents": [replace(d, embedding=VECTORS[int(d.id)].tolist()) for d in documents]
            }

    helped = FeedbackRetriever(
        retriever=Hides(), ranker=ranker(), document_embedder=Again(), search_k=K
    )
    result = run(helped, mode, query="q", query_embedding=QUERY)
    assert result["meta"]["skipped"] == ""
    assert Again.calls == 1
    assert found_ids(result) == found_ids(
        run(
            FeedbackRetriever(retriever=in_memory(), ranker=ranker(), search_k=K),
            mode,
            query="q",
            query_embedding=QUERY,
        )
    )


def down():
    return BackendError("the server is down")


@component
class Broken:
    """A third-party ranker that misbehaves."""

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document]) -> dict:
        raise RuntimeError("CUDA out of memory")


@MODES
@pytest.mark.parametrize("broken", [lambda: ranker(Failing(down)), Broken], ids=["ours", "theirs"])
def test_a_ranker_that_fails(mode, broken, caplog):
    inputs = {"query": "q", "query_embedding": QUERY}
    first = in_memory().run(query_embedding=QUERY, top_k=10)["documents"]
    composite = FeedbackRetriever(retriever=in_memory(), ranker=broken(), search_k=K)
    with caplog.at_level(logging.WARNING):
        result = run(composite, mode, **inputs)
    assert found_ids(result) == [d.id for d in first]
    assert [d.score for d in result["documents"]] == [d.score for d in first]
    assert "the reranker failed" in result["meta"]["skipped"]
    assert result["meta"]["score_kind"] == "index"
    assert "the reranker failed" in caplog.text


@MODES
def test_or_it_raises(mode):
    strict = FeedbackRetriever(
        retriever=in_memory(), ranker=Broken(), search_k=K, raise_on_failure=True
    )
    with pytest.raises(RerankError, match="CUDA out of memory"):
        run(strict, mode, query="q", query_embedding=QUERY)
    pipeline = Pipeline()
    pipeline.add_component("retriever", strict)
    with pytest.raises(PipelineRuntimeError, match="CUDA out of memory"):
        pipeline.run({"retriever": {"query": "q", "query_embedding": QUERY}})


@component
class ByContent:
    """A third-party ranker: unknown, missing and repeated ids, and scores of its own."""

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict:
        from dataclasses import replace

        best = sorted(documents, key=lambda d: -RELEVANCE[int(d.id)])
        ranked = [replace(d, score=float(i)) for i, d in enumerate(best)]  # rising scores
        return {"documents": [*ranked[:20], ranked[0], Document(content="invented")]}


@MODES
def test_somebody_elses_ranker_counts_by_its_order(mode):
    composite = FeedbackRetriever(retriever=in_memory(), ranker=ByContent(), top_k=None, search_k=K)
    result = run(composite, mode, query="q", query_embedding=QUERY)
    found = found_ids(result)
    assert len(found) == len(set(found))
    assert all(key.isdigit() for key in found)
    assert result["meta"]["score_kind"] == "rank"
    assert result["meta"]["skipped"] == ""
    assert result["meta"]["found_by_feedback"] > 0


def test_filters_hold_for_both_searches():
    store = InMemoryDocumentStore()
    store.write_documents(
        [
            Document(
                id=d.id, content=d.content, embedding=d.embedding, meta={"even": int(d.id) % 2 == 0}
            )
            for d in documents()
        ]
    )
    composite = FeedbackRetriever(
        retriever=InMemoryEmbeddingRetriever(store), ranker=ranker(), top_k=None, search_k=K
    )
    filters = {"field": "meta.even", "operator": "==", "value": True}
    result = composite.run(query="q", query_embedding=QUERY, filters=filters)
    assert result["meta"]["found_by_feedback"] > 0
    assert all(int(key) % 2 == 0 for key in found_ids(result))


def test_inputs_and_the_store_are_left_alone():
    retriever = in_memory()
    before = [d.to_dict() for d in retriever.document_store.filter_documents()]
    embedding = list(QUERY)
    FeedbackRetriever(retriever=retriever, ranker=ranker(), search_k=K).run(
        query="q", query_embedding=embedding
    )
    assert embedding == QUERY
    assert [d.to_dict() for d in retriever.document_store.filter_documents()] == before


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"search_k": 0},
        {"depth": -1},
        {"rounds": 0},
        {"fuse": "x"},
        {"top_k": 5, "rerank_new": False},
        {"method": {"name": "safe", "x": 1}},
    ],
)
def test_options_that_cannot_be(options):
    with pytest.raises(InputError):
        FeedbackRetriever(retriever=in_memory(), ranker=ranker(), **options)
    with pytest.raises(UnknownNameError):
        QueryFeedback(method="brave")


@MODES
def test_many_queries_get_what_each_gets_alone(mode):
    composite = FeedbackRetriever(retriever=in_memory(), ranker=ranker(), top_k=5, search_k=K)
    queries = [f"question {i}" for i in range(4)]
    embeddings = [VECTORS[i].tolist() for i in range(4)]
    inputs = {"queries": queries, "query_embeddings": embeddings}
    found = run_many(composite, mode, **inputs)
    alone = [
        composite.run(query=q, query_embedding=e) for q, e in zip(queries, embeddings, strict=True)
    ]
    assert [found_ids(one) for one in found] == [found_ids(one) for one in alone]
    assert [one["query_embedding"] for one in found] == [one["query_embedding"] for one in alone]
    assert [one["meta"]["usage"]["calls"] for one in found] == [
        one["meta"]["usage"]["calls"] for one in alone
    ]


@MODES
def test_one_of_many_queries_that_fails_leaves_the_others_alone(mode):
    class Picky(Oracle):
        def run(self, calls):
            if any(call.query == "bad" for call in calls):
                raise RuntimeError("out of memory")
            return super().run(calls)

    model = Picky(key=lambda query, passage: float(RELEVANCE[int(passage.split()[-1])]))
    composite = FeedbackRetriever(retriever=in_memory(), ranker=ranker(model), search_k=K)
    inputs = {"queries": ["good", "bad"], "query_embeddings": [QUERY, QUERY]}
    good, bad = run_many(composite, mode, **inputs)
    assert good["meta"]["skipped"] == ""
    assert "out of memory" in bad["meta"]["skipped"]
    with pytest.raises(InputError, match="2 queries and 1 embeddings"):
        composite.run_many(["a", "b"], [QUERY])
    with pytest.raises(InputError, match="queries is of type str, expected a list"):
        run_many(composite, mode, queries="ab", query_embeddings=[QUERY, QUERY])
    with pytest.raises(InputError, match="max_concurrency is 0"):
        asyncio.run(composite.run_many_async(**inputs, max_concurrency=0))


@MODES
def test_a_retriever_that_fails_for_one_of_many_raises_after_the_others(mode):
    class Picky(InMemoryEmbeddingRetriever):
        def run(self, query_embedding, **inputs):
            if query_embedding[0] == 0.0:
                raise RuntimeError("no such shard")
            return super().run(query_embedding, **inputs)

        async def run_async(self, query_embedding, **inputs):
            return self.run(query_embedding, **inputs)

    model = oracle()
    retriever = Picky(in_memory().document_store)
    composite = FeedbackRetriever(retriever=retriever, ranker=ranker(model), search_k=K)
    zero = [0.0] * len(QUERY)
    inputs = {"queries": ["bad", "good"], "query_embeddings": [zero, QUERY]}
    with pytest.raises(BackendError, match="no such shard"):
        run_many(composite, mode, **inputs)
    assert model.asked


@MODES
def test_runtime_top_k(mode):
    composite = FeedbackRetriever(retriever=in_memory(), ranker=ranker(), search_k=K)
    assert len(found_ids(run(composite, mode, query="q", query_embedding=QUERY, top_k=3))) == 3
    with pytest.raises(ValueError, match="top_k must be > 0"):
        run(composite, mode, query="q", query_embedding=QUERY, top_k=0)


def test_yaml_round_trip_of_both():
    pipeline = Pipeline()
    composite = FeedbackRetriever(
        retriever=in_memory(),
        ranker=FirstRanker(model="castorini/first_mistral", top_k=5),
        text_embedder=MockTextEmbedder(dimension=DIM),
        document_embedder=MockDocumentEmbedder(dimension=DIM),
        top_k=7,
        depth=20,
        method={"name": "safe", "degrees": 30},
        fuse="rrf",
    )
    pipeline.add_component("retriever", composite)
    pipeline.add_component(
        "feedback",
        QueryFeedback(method="bold", document_embedder=MockDocumentEmbedder(dimension=DIM)),
    )
    again = Pipeline.loads(pipeline.dumps())
    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
    loaded = again.get_component("retriever")
    assert (loaded.top_k, loaded.depth, loaded.method, loaded.fuse) == (
        7,
        20,
        {"name": "safe", "degrees": 30},
        "rrf",
    )
    assert (
        again.get_component("feedback").document_embedder.to_dict()
        == MockDocumentEmbedder(dimension=DIM).to_dict()
    )


class Lifecycle(Oracle):
    def __init__(self):
        super().__init__()
        self.warmed = self.closed = 0

    def warm_up(self):
        self.warmed += 1

    def close(self):
        self.closed += 1


def test_parts_are_warmed_up_and_closed():
    model = Lifecycle()
    composite = FeedbackRetriever(retriever=in_memory(), ranker=ranker(model))
    composite.warm_up()
    asyncio.run(composite.warm_up_async())
    composite.close()
    asyncio.run(composite.close_async())
    assert (model.warmed, model.closed) == (2, 2)
    QueryFeedback().warm_up()
    asyncio.run(QueryFeedback().close_async())


# --- QueryFeedback -----------------------------------------------------------------------------


def ranked(n=K, **options):
    first = in_memory(return_embedding=True).run(query_embedding=QUERY, top_k=n)["documents"]
    return first, ranker(**options).run(query="q", documents=first)


@MODES
def test_feedback_moves_the_embedding_and_says_how(mode):
    _, said = ranked()
    result = run(QueryFeedback(), mode, query_embedding=QUERY, documents=said["documents"])
    moved, meta = np.array(result["query_embedding"]), result["meta"]
    assert all(type(x) is float for x in result["query_embedding"])
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(QUERY), abs=1e-5)
    assert moved @ VECTORS[1] > QUERY @ VECTORS[1]
    assert meta["skipped"] == ""
    assert meta["loss_after"] < meta["loss_before"]
    assert 0 < meta["trust"] <= 1


@MODES
def test_feedback_is_skipped_where_the_ranker_failed(mode, caplog):
    _, said = ranked(backend=Failing(down))
    with caplog.at_level(logging.WARNING):
        result = run(
            QueryFeedback(),
            mode,
            query_embedding=QUERY,
            documents=said["documents"],
            ranker_meta=said["meta"],
        )
    assert result["query_embedding"] == QUERY
    assert "the server is down" in result["meta"]["skipped"]
    assert "the server is down" in caplog.text


def test_candidates_that_the_ranker_left_out_count_as_less_relevant():
    first, said = ranked()
    best = said["documents"][:10]
    alone = QueryFeedback().run(query_embedding=QUERY, documents=best)["query_embedding"]
    full = QueryFeedback().run(query_embedding=QUERY, documents=best, candidates=first)
    recall = [
        len(BEST & set(found_ids(in_memory().run(query_embedding=q, top_k=K))))
        for q in (alone, full["query_embedding"])
    ]
    assert recall[1] > recall[0]
    # The candidates' embeddings serve where the ranker's documents have none.
    from dataclasses import replace

    stripped = [replace(d, embedding=None) for d in best]
    assert (
        QueryFeedback().run(query_embedding=QUERY, documents=stripped, candidates=first)[
            "query_embedding"
        ]
        == full["query_embedding"]
    )


def test_scores_that_rise_along_the_order_are_not_used():
    """Distances of a store behind a ranker that only orders."""
    from dataclasses import replace

    _, said = ranked()
    plain = [replace(d, score=None) for d in said["documents"]]
    rising = [replace(d, score=float(i)) for i, d in enumerate(plain)]
    falling = [replace(d, score=-(float(i) ** 2)) for i, d in enumerate(plain)]
    by_order, by_rising, by_falling = (
        QueryFeedback().run(query_embedding=QUERY, documents=docs)["query_embedding"]
        for docs in (plain, rising, falling)
    )
    assert by_order == by_rising
    assert by_order != by_falling


@MODES
def test_feedback_without_documents_or_embeddings(mode, caplog):
    nothing = run(QueryFeedback(), mode, query_embedding=QUERY, documents=[])
    assert nothing["query_embedding"] == QUERY
    assert nothing["meta"]["skipped"]
    bare = [Document(content="a", score=1.0), Document(content="b", score=0.5)]
    with caplog.at_level(logging.WARNING):
        result = run(QueryFeedback(), mode, query_embedding=QUERY, documents=bare)
    assert result["meta"]["skipped"] == "no hit came with a vector"
    assert "no hit came" in caplog.text
    made = QueryFeedback(document_embedder=MockDocumentEmbedder(dimension=DIM))
    assert "no hit" not in run(made, mode, query_embedding=QUERY, documents=bare)["meta"]["skipped"]
    with pytest.raises(InputError, match="same embedding model"):
        run(
            QueryFeedback(),
            mode,
            query_embedding=QUERY,
            documents=[Document(content="a", embedding=[1.0, 2.0])],
        )


def test_both_lists_joined():
    """A pipeline with both lists: reranked documents, and those that feedback added."""
    _, said = ranked()
    moved = QueryFeedback().run(query_embedding=QUERY, documents=said["documents"])
    second = in_memory().run(query_embedding=moved["query_embedding"], top_k=K)["documents"]
    joined = DocumentJoiner(join_mode="reciprocal_rank_fusion").run([said["documents"], second])
    assert len(found_ids(joined)) > K


@pytest.mark.parametrize("part", [QueryFeedback, FeedbackRetriever])
def test_the_usage_example_runs(part):
    [code] = re.findall(r"```python\n(.*?)```", inspect.getdoc(part), flags=re.DOTALL)
    exec(compile(code, part.__name__, "exec"), {})


def test_equal_scores_say_nothing():
    first, _ = ranked()
    from dataclasses import replace

    level = [replace(d, score=1.0) for d in first]
    result = QueryFeedback().run(query_embedding=QUERY, documents=level)
    assert result["query_embedding"] == QUERY
    assert "same score" in result["meta"]["skipped"]


def test_refit_after_a_ranker_without_scores_is_skipped(caplog):
    first, _ = ranked()
    from dataclasses import replace

    ordered = [replace(d, score=None) for d in first]
    with caplog.at_level(logging.WARNING):
        result = QueryFeedback(method="refit").run(query_embedding=QUERY, documents=ordered)
    assert result["query_embedding"] == QUERY
    assert "needs scores" in result["meta"]["skipped"]
    assert "needs scores" in caplog.text


@MODES
@STORES
@pytest.mark.parametrize("expand", ["neighbours", "both"])
def test_neighbours_of_the_best_are_reranked(store, mode, expand):
    model = oracle()
    part = FeedbackRetriever(
        retriever=store(), ranker=ranker(model), search_k=K, top_k=None, expand=expand, neighbours=8
    )
    result = run(part, mode, query="a question", query_embedding=QUERY)
    assert result["meta"]["skipped"] == ""
    assert result["meta"]["found_by_feedback"] > 0
    assert result["meta"]["usage"]["calls"] == K
    assert [d.id for d in result["documents"]][:1] == [str(np.argmax(RELEVANCE))]


def test_the_first_window_has_as_many_documents_as_it_says():
    """Of an order without scores, half of a window is carried on: 10, then 5 more each."""
    model = oracle()
    written = ranker(model, strategy="permutation")
    part = FeedbackRetriever(
        retriever=in_memory(), ranker=written, search_k=K, depth=20, expand="neighbours", window=10
    )
    found = part.run(query="a question", query_embedding=QUERY)
    assert found["meta"]["usage"]["calls"] == 3 == len(model.asked)
    asked = [[part.kind for part in call.prompt.untrusted] for call in model.asked]
    assert {kinds.count("passage") for kinds in asked} == {10}


@MODES
def test_an_instruction_reaches_the_ranker(mode):
    model, many = oracle(), [QUERY, QUERY]
    part = FeedbackRetriever(
        retriever=in_memory(), ranker=ranker(model, strategy="pointwise"), search_k=K
    )
    given = {"query": "a question", "query_embedding": QUERY}
    result = run(part, mode, **given, instruction="Find fleas.")
    assert result["meta"]["skipped"] == ""
    assert model.asked
    assert all("<Instruct>: Find fleas." in call.prompt.text for call in model.asked)
    model.asked.clear()
    asked = {"queries": ["a", "b"], "query_embeddings": many, "instruction": "Find fleas."}
    run_many(part, mode, **asked)
    assert all("<Instruct>: Find fleas." in call.prompt.text for call in model.asked)


@MODES
def test_an_instruction_without_a_place_is_refused(mode):
    @component
    class Foreign:
        @component.output_types(documents=list[Document])
        def run(self, query: str, documents: list[Document]):
            return {"documents": documents}

    given = {"query": "a question", "query_embedding": QUERY, "instruction": "Find fleas."}
    for part, says in ((ranker(), "PairScore has no place"), (Foreign(), "Foreign, takes no")):
        with pytest.raises(InputError, match=says):
            run(FeedbackRetriever(retriever=in_memory(), ranker=part), mode, **given)


def test_how_a_retriever_expands_is_kept():
    part = FeedbackRetriever(
        retriever=in_memory(), ranker=PluginRanker(), expand="neighbours", neighbours=5, window=9
    )
    again = FeedbackRetriever.from_dict(part.to_dict())
    assert (again.expand, again.neighbours, again.window) == ("neighbours", 5, 9)
    with pytest.raises(InputError, match="window is 1, expected at least 2"):
        FeedbackRetriever(retriever=in_memory(), ranker=PluginRanker(), window=1)
    with pytest.raises(InputError, match="do not apply"):
        FeedbackRetriever(
            retriever=in_memory(), ranker=PluginRanker(), expand="neighbours", rounds=2
        )
