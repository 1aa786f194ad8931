"""FAISS indexes of every kind: vectors, metrics, batches."""

import threading

import faiss
import numpy as np
import pytest

from rerank_plugins import ConfigurationError, InputError, Reranker, UnsupportedCallError
from rerank_plugins.calls import Reply, ScorePair, Search
from rerank_plugins.feedback import FaissIndex, FeedbackSearch, refine_query
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

N, DIM = 600, 16
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
IDS = [f"d{i}" for i in range(N)]
TEXTS = [f"passage {i}" for i in range(N)]
FACTORIES = [
    "Flat",
    "HNSW16",
    "IVF8,Flat",
    "PQ8x4",
    "IVF8,PQ8x4",
    "SQ8",
    "PCA8,Flat",
    "L2norm,Flat",
]


def build(factory="Flat", metric="ip", vectors=VECTORS):
    return FaissIndex.build(
        vectors,
        ids=IDS[: len(vectors)],
        texts=TEXTS[: len(vectors)],
        factory=factory,
        metric=metric,
    )


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_flat_search_is_exact(metric):
    index = build(metric=metric)
    query = VECTORS[3] + 0.1
    products, distances = VECTORS @ query, ((VECTORS - query) ** 2).sum(axis=1)
    level = products if metric == "ip" else -distances
    expected = np.argsort(-level)[:7]
    found = index.search(query, 7)
    assert [hit.id for hit in found] == [IDS[i] for i in expected]
    assert [hit.text for hit in found] == [TEXTS[i] for i in expected]
    assert [hit.score for hit in found] == pytest.approx(level[expected].tolist(), rel=1e-4)
    for hit, i in zip(found, expected, strict=True):
        assert np.array_equal(hit.vector, VECTORS[i])


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("factory", FACTORIES)
def test_feedback_works_on_every_kind(factory, metric, tmp_path):
    if factory.startswith("L2norm") and metric == "l2":
        pytest.skip("the same as cosine")
    index = build(factory, metric)
    want = VECTORS[0] + VECTORS[1]
    level = VECTORS @ want if metric == "ip" else -((VECTORS - want) ** 2).sum(axis=1)
    model = Oracle(key=lambda query, passage: float(level[int(passage.split()[-1])]))
    found = FeedbackSearch(index, Reranker(PairScore(), model), k=60).search("q", VECTORS[0])
    assert found.skipped == ""
    assert found.new
    # The length counts where distances are compared.
    assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(VECTORS[0]), rel=1e-5)
    index.save(tmp_path / "index")
    again = FaissIndex.load(tmp_path / "index")
    other = FeedbackSearch(again, Reranker(PairScore(), model), k=60).search("q", VECTORS[0])
    assert [h.id for h in other.hits] == [h.id for h in found.hits]
    assert again.metric == metric


def test_refined_vectors_of_l2_keep_their_length_and_so_find_more():
    vectors = VECTORS * np.random.default_rng(1).uniform(0.8, 1.25, size=(N, 1)).astype(np.float32)
    index = build(metric="l2", vectors=vectors)
    want = vectors[0] + vectors[1]
    level = -((vectors - want) ** 2).sum(axis=1)
    model = Oracle(key=lambda query, passage: float(level[int(passage.split()[-1])]))
    best = {IDS[i] for i in np.argsort(-level)[:60]}
    for method in ("safe", "bold", "refit"):
        found = FeedbackSearch(index, Reranker(PairScore(), model), k=60, method=method).search(
            "q", vectors[0]
        )
        assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(vectors[0]), rel=1e-5)
        assert len(best & set(found.second)) > len(best & set(found.first))


def test_indexes_that_cannot_give_vectors_back_say_what_to_do():
    lists = faiss.index_factory(DIM, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    lists.train(VECTORS)
    lists.add(VECTORS)
    with pytest.raises(ConfigurationError, match=r"make_direct_map\(\)"):
        FaissIndex(lists, ids=IDS, texts=TEXTS)
    lists.make_direct_map()
    assert len(FaissIndex(lists, ids=IDS, texts=TEXTS).search(VECTORS[0], 5)[0].vector) == DIM

    mapped = faiss.IndexIDMap(faiss.IndexFlatIP(DIM))
    mapped.add_with_ids(VECTORS, np.arange(N))
    with pytest.raises(ConfigurationError, match="IDMap2"):
        FaissIndex(mapped, ids=IDS, texts=TEXTS)
    beside = FaissIndex(mapped, ids=IDS, texts=TEXTS, vectors=VECTORS)
    hit = beside.search(VECTORS[0], 1)[0]
    assert np.array_equal(hit.vector, VECTORS[IDS.index(hit.id)])


def test_vectors_kept_beside_a_compressed_index_are_exact_and_saved(tmp_path):
    compressed = build("PQ8x4").index
    index = FaissIndex(compressed, ids=IDS, texts=TEXTS, vectors=VECTORS)
    index.save(tmp_path)
    for each in (index, FaissIndex.load(tmp_path)):
        hit = each.search(VECTORS[0], 1)[0]
        assert np.array_equal(hit.vector, VECTORS[IDS.index(hit.id)])


def test_fewer_hits_than_asked_and_none():
    assert len(build().search(VECTORS[0], 5000)) == N
    lists = build("IVF8,Flat")  # visits one list of eight
    found = lists.search(VECTORS[0], N)
    assert 0 < len(found) < N
    empty = build(vectors=VECTORS[:0])
    assert empty.search(VECTORS[0], 5) == ()
    assert empty.search_many(VECTORS[:2], 5) == [(), ()]


def test_a_batch_of_calls_is_answered_in_order():
    index = build()
    calls = [Search(tuple(map(float, VECTORS[i])), k) for i, k in ((0, 3), (1, 5), (2, 3))]
    replies = index.run(calls)
    for call, reply in zip(calls, replies, strict=True):
        assert isinstance(reply, Reply)
        assert [h.id for h in reply.answer] == [h.id for h in index.search(call.vector, call.k)]
    assert index.run([]) == []
    with pytest.raises(UnsupportedCallError):
        index.run([ScorePair("a", "b")])


def test_many_threads_may_search_at_once():
    index, found = build("HNSW16"), {}

    def work(i):
        found[i] = [index.search(VECTORS[i], 5)[0].id for _ in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(set(ids)) == 1 for ids in found.values())


def test_bad_input():
    index = build()
    for wrong in (
        lambda: index.search(VECTORS[0, :3], 5),
        lambda: index.search(VECTORS[0], 0),
        lambda: index.search(VECTORS[0] * np.nan, 5),
        lambda: index.search("abc", 5),
        lambda: build("Nonsense7"),
        lambda: build(metric="cosine"),
        lambda: FaissIndex.build(VECTORS, ids=IDS[:-1], texts=TEXTS),
        lambda: FaissIndex.build(VECTORS, ids=IDS, texts=TEXTS[:-1]),
        lambda: FaissIndex.build(VECTORS, ids=["a"] * N, texts=TEXTS),
        lambda: FaissIndex.build(VECTORS[0], ids=IDS, texts=TEXTS),
        lambda: FaissIndex(index.index, ids=IDS, texts=TEXTS, vectors=VECTORS[:5]),
        lambda: FaissIndex(faiss.IndexFlat(DIM, faiss.METRIC_L1), ids=[], texts=[]),
        lambda: build("IVF2000,Flat"),
    ):
        with pytest.raises(InputError):
            wrong()


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF8,Flat", "PQ8x4"])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_arrays_hold_what_the_hits_hold(factory, metric):
    index = build(factory, metric)
    places, scores = index.nearest(VECTORS[:5], N)
    vectors = index.vectors_at(places)
    assert vectors.shape == (5, N, DIM)
    rows = zip(index.search_many(VECTORS[:5], N), places, scores, vectors, strict=True)
    for hits, *row in rows:
        n = len(hits)
        assert [hit.id for hit in hits] == [IDS[i] for i in row[0][:n]]
        assert [hit.score for hit in hits] == row[1][:n].tolist()
        assert all(np.array_equal(h.vector, v) for h, v in zip(hits, row[2], strict=False))
        assert set(row[0][n:].tolist()) <= {-1}
        assert np.isnan(row[1][n:]).all()
        assert np.isnan(row[2][n:]).all()


def test_a_batch_is_refined_in_arrays_as_it_is_query_by_query():
    index = build("IVF8,Flat")  # some queries have fewer hits than asked
    queries = VECTORS[:40]
    places, _ = index.nearest(queries, 120)
    assert (places < 0).any()
    want = queries + VECTORS[40:80]
    vectors = index.vectors_at(places)
    scores = np.einsum("bkd,bd->bk", vectors, want)
    refined = refine_query(queries, vectors, scores).vector
    for i, hits in enumerate(index.search_many(queries, 120)):
        alone = refine_query(queries[i], np.stack([h.vector for h in hits]), scores[i, : len(hits)])
        assert refined[i] == pytest.approx(alone.vector, abs=1e-5)


def test_vectors_at_positions():
    index = build("PCA8,Flat")
    beside = FaissIndex(index.index, ids=IDS, texts=TEXTS, vectors=VECTORS)
    assert np.array_equal(beside.vectors_at([[3, 599], [0, 3]]), VECTORS[[[3, 599], [0, 3]]])
    assert np.array_equal(index.vectors_at(7), index.index.reconstruct(7))
    assert index.vectors_at(np.empty((2, 0))).shape == (2, 0, DIM)
    for wrong in ([N], [-2]):
        with pytest.raises(InputError, match="out of range: the index holds 600"):
            index.vectors_at(wrong)
    empty = build(vectors=VECTORS[:0])
    places, scores = empty.nearest(VECTORS[:2], 5)
    assert places.shape == scores.shape == (2, 0)


def test_it_says_what_it_is():
    assert repr(build()) == "FaissIndex(IndexFlat, 600 passages, 16 dimensions, ip)"


def test_labels_of_ones_own_are_refused():
    inner = faiss.IndexFlatIP(DIM)
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(VECTORS[:3], np.array([7, 8, 9]))
    with pytest.raises(InputError, match="labels of its own"):
        FaissIndex(index, ids="abc", texts="abc")


def test_an_index_that_changed_is_not_searched(tmp_path):
    index = build(vectors=VECTORS[:5])
    index.index.add(VECTORS[:1])
    with pytest.raises(ConfigurationError, match="6 vectors, and there are 5 ids"):
        index.search(VECTORS[0], 3)
    with pytest.raises(ConfigurationError, match="6 vectors"):
        index.save(tmp_path / "index")


def test_an_index_that_would_crash_is_refused():
    index = faiss.index_factory(DIM, "PQ8x4fs", faiss.METRIC_INNER_PRODUCT)
    index.train(VECTORS)
    index.add(VECTORS)
    with pytest.raises(ConfigurationError, match="cannot give vectors back"):
        FaissIndex(index, ids=IDS, texts=TEXTS)
    assert len(FaissIndex(index, ids=IDS, texts=TEXTS, vectors=VECTORS).search(VECTORS[0], 3)) == 3
