"""Files of an index, which are whole or are not read."""

import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from rerank_plugins import InputError, Passage
from rerank_plugins._files import digest
from rerank_plugins.feedback import FaissIndex

N, DIM = 600, 16
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
IDS = [f"d{i}" for i in range(N)]
TEXTS = [f"passage {i}" for i in range(N)]


def build(factory="Flat", metric="ip", vectors=VECTORS):
    return FaissIndex.build(
        vectors,
        ids=IDS[: len(vectors)],
        texts=TEXTS[: len(vectors)],
        factory=factory,
        metric=metric,
    )


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
