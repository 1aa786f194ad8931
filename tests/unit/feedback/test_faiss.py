"""FAISS indexes of every kind: vectors back, metrics, files that are whole or are not read."""

import json
import os
import shutil
import subprocess
import sys
import threading

import faiss
import numpy as np
import pytest

from rerank_plugins import ConfigurationError, InputError, Passage, Reranker, UnsupportedCallError
from rerank_plugins._files import digest
from rerank_plugins.calls import Reply, ScorePair, Search
from rerank_plugins.feedback import FaissIndex, FeedbackSearch
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


def test_no_gpu_is_said_plainly():
    with pytest.raises(ConfigurationError, match="faiss-gpu"):
        build().to_gpu()


# --- files -------------------------------------------------------------------------------------


def test_saving_again_replaces_the_old_index(tmp_path):
    build().save(tmp_path)
    small = build(vectors=VECTORS[:50])
    small.save(tmp_path)
    assert len(FaissIndex.load(tmp_path)) == 50
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1
    assert FaissIndex.load(tmp_path).ids == small.ids


def saved(tmp_path):
    build().save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    return manifest, tmp_path / manifest["generation"]


def test_a_truncated_file_is_damaged(tmp_path):
    for name in ("index.faiss", "passages.jsonl"):
        _, folder = saved(tmp_path)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=f"'{name}'.*damaged or incomplete"):
            FaissIndex.load(tmp_path)
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"lost its file '{name}'"):
            FaissIndex.load(tmp_path)


def test_another_version_and_other_manifests(tmp_path):
    manifest, _ = saved(tmp_path)
    path = tmp_path / "manifest.json"
    cases = {
        "is of version 99, expected 1": {**manifest, "version": 99},
        "not a file of the format": {"format": "something else"},
        "damaged: it has no passages": {k: v for k, v in manifest.items() if k != "passages"},
        "does not list": {**manifest, "files": {}},
        "do not belong together": {**manifest, "passages": 7},
    }
    for message, changed in cases.items():
        path.write_text(json.dumps(changed), "utf-8")
        with pytest.raises(InputError, match=message):
            FaissIndex.load(tmp_path)
    path.write_text(json.dumps(manifest)[:40], "utf-8")
    with pytest.raises(InputError, match="damaged"):
        FaissIndex.load(tmp_path)
    path.write_text("[]", "utf-8")
    with pytest.raises(InputError, match="not a file of the format"):
        FaissIndex.load(tmp_path)
    with pytest.raises(InputError, match="no saved index"):
        FaissIndex.load(tmp_path / "nowhere")


def test_ids_that_do_not_match_the_vectors(tmp_path):
    manifest, folder = saved(tmp_path)
    path = folder / "passages.jsonl"
    lines = path.read_text("utf-8").splitlines()
    for rows, message in (
        (lines[:-1], "do not belong"),
        ([lines[0]] * N, "repeat"),
        (["{}"] * N, "passages"),
    ):
        path.write_text("\n".join(rows) + "\n", "utf-8")
        manifest["files"]["passages.jsonl"] = digest(path)
        (tmp_path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        with pytest.raises(InputError, match=message):
            FaissIndex.load(tmp_path)


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path):
    manifest, generation = saved(tmp_path / "index")
    shutil.copytree(generation, tmp_path / "outside")
    manifest["generation"] = "../outside"
    (tmp_path / "index" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(InputError, match="lost its file"):
        FaissIndex.load(tmp_path / "index")


KILLED = """
import os, sys
import numpy as np
from pathlib import Path
from rerank_plugins.feedback import FaissIndex
from rerank_plugins.feedback._index import storage

at = int(sys.argv[2])
calls = 0

def die(original):
    def step(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            os._exit(9)
        return original(*args, **kwargs)
    return step

storage.digest = die(storage.digest)
os.fsync = die(os.fsync)
Path.replace = die(Path.replace)
storage.shutil.rmtree = die(storage.shutil.rmtree)
vectors = np.eye(4, dtype=np.float32)
FaissIndex.build(vectors, ids="abcd", texts="abcd").save(sys.argv[1])
"""


def test_a_kill_in_the_middle_of_saving_leaves_the_old_index_or_the_new(tmp_path):
    sizes = []
    for at in range(1, 24):
        folder = tmp_path / str(at)
        build().save(folder)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", KILLED, str(folder), str(at)],
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        sizes.append(len(FaissIndex.load(folder)))
        build(vectors=VECTORS[:9]).save(folder)  # and the next save works
        assert len(FaissIndex.load(folder)) == 9
        assert len([p for p in folder.iterdir() if p.is_dir()]) <= 2  # what was killed may stay
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert set(sizes) == {N, 4}
    assert sizes == sorted(sizes, reverse=True)


def test_saving_into_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear", "utf-8")
    with pytest.raises(InputError, match="something else"):
        build().save(tmp_path)
    assert (tmp_path / "letter.txt").read_text("utf-8") == "dear"
    with pytest.raises(InputError, match="is a file"):
        build().save(tmp_path / "letter.txt")


def test_texts_of_every_kind_come_back(tmp_path):
    texts = ["", "a\nb", "\u2028 \x00 é 漢", "x" * 10000]
    index = FaissIndex.build(np.eye(4), ids=["", "1", "ü", "a/b"], texts=texts)
    index.save(tmp_path)
    again = FaissIndex.load(tmp_path)
    assert (again.ids, list(again.texts)) == (index.ids, texts)


def test_titles_come_back(tmp_path):
    texts = [Passage("They live for months.", title="Flea"), "no title"]
    FaissIndex.build(np.eye(2), ids="ab", texts=texts).save(tmp_path)
    flea, other = FaissIndex.load(tmp_path).texts
    assert (flea, flea.passage_title, other) == ("They live for months.", "Flea", "no title")


def test_it_says_what_it_is():
    assert repr(build()) == "FaissIndex(IndexFlat, 600 passages, 16 dimensions, ip)"


def test_a_folder_of_ours_that_holds_more_keeps_it(tmp_path):
    build().save(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "letter.txt").write_text("dear", "utf-8")
    build(vectors=VECTORS[:9]).save(tmp_path)
    assert len(FaissIndex.load(tmp_path)) == 9
    assert (tmp_path / "notes" / "letter.txt").read_text("utf-8") == "dear"


def test_somebody_elses_manifest_is_left_alone(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "my web app"}', "utf-8")
    with pytest.raises(InputError, match="something else"):
        build().save(tmp_path)
    assert (tmp_path / "manifest.json").read_text("utf-8") == '{"name": "my web app"}'


def test_savers_and_loaders_at_the_same_time(tmp_path):
    build(vectors=VECTORS[:5]).save(tmp_path)
    sizes, failures = [], []

    def work(n):
        try:
            for _ in range(10):
                build(vectors=VECTORS[:n]).save(tmp_path)
                sizes.append(len(FaissIndex.load(tmp_path)))
        except Exception as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in (5, 6, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(sizes) <= {5, 6, 7}


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
