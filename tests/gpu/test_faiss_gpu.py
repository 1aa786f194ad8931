"""FAISS on a real GPU: what it finds is what the CPU finds."""

import threading

import faiss
import numpy as np
import pytest

from rerank_plugins import ConfigurationError, InputError, Reranker
from rerank_plugins.feedback import FaissIndex, FeedbackSearch, refine_query
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

pytestmark = pytest.mark.gpu

N, DIM = 3000, 32
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
PASSAGES = {"ids": [f"d{i}" for i in range(N)], "texts": [f"passage {i}" for i in range(N)]}
QUERIES = VECTORS[:20] + np.float32(0.1)


def build(factory, metric="ip"):
    return FaissIndex.build(VECTORS, **PASSAGES, factory=factory, metric=metric)


def alike(one, other, least=0.95):
    """The same passages but for ties of a compressed index, with the same vectors."""
    found, expected = (index.search_many(QUERIES, 50) for index in (one, other))
    shared = [
        len({h.id for h in a} & {h.id for h in b}) / len(b)
        for a, b in zip(found, expected, strict=True)
    ]
    assert np.mean(shared) >= least
    vectors = {hit.id: hit.vector for row in expected for hit in row}
    for hit in (hit for row in found for hit in row):
        assert hit.id not in vectors or np.array_equal(hit.vector, vectors[hit.id])


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat", "IVF16,PQ8", "PCA16,Flat"])
def test_there_and_back(factory, metric, tmp_path):
    index = build(factory, metric)
    moved = index.to_gpu()
    alike(moved, index)
    alike(moved.to_cpu(), index, least=1)
    moved.save(tmp_path)
    alike(FaissIndex.load(tmp_path), index, least=1)
    alike(FaissIndex.load(tmp_path).to_gpu([0]), index)


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat"])
def test_an_index_that_was_made_on_a_gpu(factory, tmp_path):
    index = build(factory)
    there = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index.index)
    made = FaissIndex(there, **PASSAGES)
    alike(made, index)
    made.save(tmp_path)
    alike(FaissIndex.load(tmp_path), index, least=1)
    alike(FaissIndex(there, **PASSAGES, vectors=VECTORS), index)


def test_halves_find_nearly_the_same():
    options = faiss.GpuMultipleClonerOptions()
    options.useFloat16 = True
    index = build("Flat")
    alike(index.to_gpu(options=options), index, least=0.9)


def test_a_batch_of_thousands_is_refined_in_arrays():
    index = build("Flat")
    moved = index.to_gpu()
    queries = np.random.default_rng(1).normal(size=(2000, DIM)).astype(np.float32)
    places, _ = moved.nearest(queries, 100)
    vectors = moved.vectors_at(places)
    refined = refine_query(queries, vectors, np.einsum("bkd,bd->bk", vectors, VECTORS[:2000]))
    second, _ = moved.nearest(refined.vector, 100)
    again, _ = index.nearest(refined.vector, 100)
    assert np.mean(second == again) > 0.99


def test_feedback_on_a_gpu_finds_what_it_finds_on_the_cpu():
    index = build("Flat")
    level = VECTORS @ (VECTORS[0] + VECTORS[1])
    model = Oracle(key=lambda query, passage: float(level[int(passage.split()[-1])]))
    one, other = (
        FeedbackSearch(each, Reranker(PairScore(), model), k=60).search("q", VECTORS[0])
        for each in (index, index.to_gpu())
    )
    assert other.skipped == ""
    assert len({h.id for h in one.hits} & {h.id for h in other.hits}) >= 0.95 * len(one.hits)


def test_threads_share_an_index_on_a_gpu():
    moved, found = build("Flat").to_gpu(), []

    def work():
        found.extend(moved.search(QUERIES[0], 5)[0].id for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400
    assert len(set(found)) == 1


def test_what_a_gpu_cannot_do():
    with pytest.raises(ConfigurationError, match="IndexHNSWFlat"):
        build("HNSW16").to_gpu()
    with pytest.raises(ConfigurationError, match="cannot move an IndexPreTransform"):
        build("L2norm,Flat").to_gpu()
    with pytest.raises(ConfigurationError, match="FAISS finds 0 to"):
        build("Flat").to_gpu([999])
    with pytest.raises(InputError, match="cannot find 3000 passages"):
        build("Flat").to_gpu().search(VECTORS[0], N)
