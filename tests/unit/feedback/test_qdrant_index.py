"""A real Qdrant in this process, searched with refined vectors."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from small_index import DIM, IDS, QUERY, TEXTS, VECTORS, searcher

from rerank_plugins import ConfigurationError, InputError, UnsupportedCallError
from rerank_plugins.calls import ScorePair, Search
from rerank_plugins.errors import BackendError
from rerank_plugins.feedback import FaissIndex, QdrantIndex
from rerank_plugins.testing import BackendContract

qdrant_client = pytest.importorskip("qdrant_client")
models = qdrant_client.models


@pytest.fixture(scope="module")
def client():
    client = qdrant_client.QdrantClient(":memory:")
    yield client
    client.close()


def filled(client, name, config, vector, payload=None):
    client.create_collection(name, vectors_config=config)
    points = [
        models.PointStruct(
            id=i,
            vector=vector(VECTORS[i].tolist()),
            payload=payload or {"text": text, "key": IDS[i], "even": i % 2 == 0},
        )
        for i, text in enumerate(TEXTS)
    ]
    client.upsert(name, points)


@pytest.fixture(scope="module")
def notes(client):
    config = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    filled(client, "notes", config, lambda v: v)
    return QdrantIndex(client, "notes", id="key")


@pytest.mark.parametrize("method", ["safe", "bold", "first", "qdrant-naive"])
def test_a_refined_vector_finds_in_qdrant_what_it_finds_in_faiss(notes, method):
    exact = FaissIndex.build(VECTORS, ids=IDS, texts=TEXTS)
    ours = searcher(exact, method=method).search("which passage?", QUERY)
    theirs = searcher(notes, method=method).search("which passage?", QUERY)
    assert theirs.skipped == ours.skipped == ""
    assert theirs.second == ours.second
    assert [hit.id for hit in theirs.hits] == [hit.id for hit in ours.hits]
    assert theirs.new


def test_many_searches_are_one_request_and_an_event_loop_is_not_needed(notes, monkeypatch):
    requests = []
    asked = notes.client.query_batch_points
    monkeypatch.setattr(
        notes.client,
        "query_batch_points",
        lambda name, rows: requests.append(len(rows)) or asked(name, rows),
    )
    searcher(notes).search_many(["a", "b", "c"], VECTORS[:3])
    assert requests[0] == 3
    assert len(requests) == 2
    found = asyncio.run(searcher(notes).asearch("a", VECTORS[0]))
    assert found.usage.searches == 2
    assert notes.search_many(np.empty((0, DIM)), 3) == []


def test_named_vectors_filters_and_ids_of_points(client):
    config = {"dense": models.VectorParams(size=DIM, distance=models.Distance.DOT)}
    filled(client, "named", config, lambda v: {"dense": v})
    even = models.Filter(
        must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))]
    )
    index = QdrantIndex(client, "named", using="dense", query_filter=even)
    found = index.search(QUERY, 5)
    best = [i for i in np.argsort(-(VECTORS @ QUERY)) if i % 2 == 0][:5]
    assert [hit.id for hit in found] == [str(i) for i in best]
    assert np.allclose(found[0].vector, VECTORS[best[0]])
    assert repr(index) == "QdrantIndex('named')"


def test_the_names_of_vectors_are_told(client):
    one = models.VectorParams(size=DIM, distance=models.Distance.DOT)
    client.create_collection("two", vectors_config={"title": one, "body": one})
    client.create_collection("plain", vectors_config=one)
    for using in (None, "text"):
        index = QdrantIndex(client, "two", using=using)
        for ask in (
            lambda index=index: index.search(QUERY, 1),
            lambda index=index: index.run([Search(tuple(QUERY.tolist()), 3)]),
        ):
            with pytest.raises(
                ConfigurationError,
                match=rf"using is {using!r}. Give using='title' or using='body'",
            ):
                ask()
    with pytest.raises(ConfigurationError, match=r"have no names, and using is 'title'\. Leave"):
        QdrantIndex(client, "plain", using="title").search(QUERY, 1)


def test_what_is_missing_is_named(client, notes):
    with pytest.raises(ConfigurationError, match=r"has no 'content'.*text="):
        QdrantIndex(client, "notes", text="content").search(QUERY, 1)
    with pytest.raises(ConfigurationError, match=r"has no 'uid'.*id="):
        QdrantIndex(client, "notes", id="uid").search(QUERY, 1)
    with pytest.raises(InputError, match="expected QdrantClient"):
        QdrantIndex(qdrant_client.AsyncQdrantClient(":memory:"), "notes")
    with pytest.raises(InputError, match="k is 0"):
        notes.search(QUERY, 0)
    with pytest.raises(UnsupportedCallError, match="ScorePair"):
        notes.run([ScorePair("a", "b")])
    [reply] = QdrantIndex(client, "elsewhere").run([Search(tuple(QUERY.tolist()), 3)])
    assert isinstance(reply, BackendError)


def test_vectors_of_several_rows_are_refused(notes, monkeypatch):
    point = models.ScoredPoint(id=1, version=0, score=1.0, payload={"text": "a", "key": "b"})
    reply = SimpleNamespace(points=[point.model_copy(update={"vector": [[1.0], [2.0]]})])
    monkeypatch.setattr(notes.client, "query_batch_points", lambda name, rows: [reply])
    with pytest.raises(ConfigurationError, match=r"not one list.*using="):
        notes.search(QUERY, 1)
    reply.points[0] = point.model_copy(update={"vector": {"other": [1.0]}})
    assert len(notes.search(QUERY, 1)[0].vector) == 0


class TestContract(BackendContract):
    @pytest.fixture
    def backend(self, client):
        if not client.collection_exists("contract"):
            config = models.VectorParams(size=8, distance=models.Distance.DOT)
            client.create_collection("contract", vectors_config=config)
            points = [
                models.PointStruct(id=i, vector=row.tolist(), payload={"text": f"d{i}"})
                for i, row in enumerate(np.eye(8))
            ]
            client.upsert("contract", points)
        return QdrantIndex(client, "contract")
