"""FAISS on GPUs: what is said without one, and with a stand-in what a moved index does."""

import os
import subprocess
import sys
import threading

import faiss
import numpy as np
import pytest

from rerank_plugins import ConfigurationError, InputError
from rerank_plugins.feedback import FaissIndex

N, DIM = 600, 16
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
PASSAGES = {"ids": [f"d{i}" for i in range(N)], "texts": [f"passage {i}" for i in range(N)]}


def build(factory="Flat"):
    return FaissIndex.build(VECTORS, **PASSAGES, factory=factory)


class GpuIndexFlat:
    """Searches as one of FAISS's GPU indexes does, and like them gives no vectors back."""

    def __init__(self, index):
        self.inside = faiss.clone_index(index)
        self.ntotal, self.d, self.metric_type = index.ntotal, index.d, index.metric_type
        self.searching = 0

    def search(self, table, k):
        self.searching += 1
        assert self.searching == 1, "two threads at once"
        try:
            if k > 2048:
                raise RuntimeError("k is too large")
            return self.inside.search(table, k)
        finally:
            self.searching -= 1


def back(index):
    """A GPU index on the CPU: FAISS makes no direct map there."""
    copy = faiss.clone_index(index.inside)
    if isinstance(copy, faiss.IndexIVF):
        copy.set_direct_map_type(faiss.DirectMap.NoMap)
    return copy


@pytest.fixture
def two_gpus(monkeypatch):
    """A FAISS that finds two GPUs; the list gets the ones that were used."""
    used = []

    def move(index, co=None, gpus=None):
        used.append((co, gpus))
        return index if isinstance(index, faiss.IndexHNSW) else GpuIndexFlat(index)

    for name, value in {
        "StandardGpuResources": object,
        "get_num_gpus": lambda: 2,
        "index_cpu_to_gpus_list": move,
        "index_gpu_to_cpu": back,
    }.items():
        monkeypatch.setattr(faiss, name, value, raising=False)
    return used


def same(one, other):
    found, expected = (index.search_many(VECTORS[:9], 50) for index in (one, other))
    assert found == expected
    for row, expected_row in zip(found, expected, strict=True):
        for hit, twin in zip(row, expected_row, strict=True):
            assert np.array_equal(hit.vector, twin.vector)


def test_a_faiss_for_cpus_names_the_extra(monkeypatch):
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
    with pytest.raises(ConfigurationError, match=r"CPUs alone.*rerank-plugins\[faiss-gpu\]"):
        build().to_gpu()


def test_a_machine_without_a_gpu(two_gpus, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(ConfigurationError, match="FAISS finds no GPU on this machine"):
        build().to_gpu()
    assert not two_gpus


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "IVF8,PQ8x4", "PCA8,Flat"])
def test_there_and_back(factory, two_gpus, tmp_path):
    index = build(factory)
    moved = index.to_gpu()
    assert repr(moved).startswith("FaissIndex(GpuIndexFlat, 600 passages")
    same(moved, index)
    same(moved.to_gpu(), index)
    same(moved.to_cpu(), index)
    assert moved.to_cpu().index is index.index
    assert moved.hits(["d3"]) == index.hits(["d3"])
    moved.save(tmp_path)
    same(FaissIndex.load(tmp_path), index)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat"])
@pytest.mark.parametrize("beside", [None, VECTORS])
def test_an_index_that_was_made_on_a_gpu(factory, beside, two_gpus, tmp_path):
    index = build(factory)
    made = FaissIndex(GpuIndexFlat(index.index), **PASSAGES, vectors=beside)
    same(made, index)
    same(made.to_cpu(), index)
    same(made.to_gpu(), index)
    made.save(tmp_path)
    same(FaissIndex.load(tmp_path), index)


def test_the_gpus_are_chosen_by_number(two_gpus):
    build().to_gpu()
    options = object()
    build().to_gpu([1], options=options)
    assert two_gpus == [(None, [0, 1]), (options, [1])]
    for wrong in ([], [2], [0, -1]):
        with pytest.raises(ConfigurationError, match="FAISS finds 0 to 1"):
            build().to_gpu(wrong)


def test_an_index_that_stays_on_the_cpu_is_no_success(two_gpus):
    with pytest.raises(ConfigurationError, match="does not run an IndexHNSWFlat on GPUs"):
        build("HNSW16").to_gpu()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("clone not supported for this type of VectorTransform", "another factory"),
        ("StandardGpuResources: alloc fail type TemporaryMemoryBuffer", "too little free memory"),
    ],
)
def test_what_faiss_refuses_is_an_error_of_ours(said, hint, two_gpus, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError(said)

    monkeypatch.setattr(faiss, "index_cpu_to_gpus_list", refuse)
    with pytest.raises(
        ConfigurationError, match=f"cannot move an IndexFlat to a GPU: {said}.*{hint}"
    ):
        build().to_gpu()


def test_more_hits_than_a_gpu_gives(two_gpus):
    vectors = np.zeros((2100, DIM))
    ids = [str(i) for i in range(2100)]
    moved = FaissIndex.build(vectors, ids=ids, texts=ids).to_gpu()
    assert len(moved.search(VECTORS[0], 2048)) == 2048
    with pytest.raises(InputError, match="cannot find 2100 passages"):
        moved.search(VECTORS[0], 5000)


def test_threads_take_turns_on_a_gpu(two_gpus):
    moved, found = build().to_gpu(), []

    def work():
        found.extend(moved.search(VECTORS[0], 5) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert len(set(found)) == 1


def test_copies_on_several_gpus_are_on_gpus(two_gpus, tmp_path):
    """FAISS's own container of copies, which has no Gpu in its name."""
    index = build()
    copies = faiss.IndexReplicas(DIM)
    copies.add_replica(index.index)
    made = FaissIndex(copies, **PASSAGES, vectors=VECTORS)
    assert made.to_cpu().index is copies
    same(made, index)


def test_two_packages_of_faiss_are_one_too_many(tmp_path):
    for name in ("faiss_cpu", "faiss_gpu"):
        folder = tmp_path / f"{name}-1.15.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.15.0\n"
        )
    code = (
        "from rerank_plugins.feedback import FaissIndex\n"
        "FaissIndex.build([[1.0]], ids=['a'], texts=['a'])"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    said = found.stderr.splitlines()[-1]
    assert "faiss-cpu and faiss-gpu are installed, and each brings the module faiss" in said
    assert "pip uninstall faiss-cpu faiss-gpu, then pip install faiss-gpu" in said
