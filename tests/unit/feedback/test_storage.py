"""Files of an index, which are whole or are not read."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage
from rerank_plugins._files import digest
from rerank_plugins.backends._late.encoding import Encoded
from rerank_plugins.backends._late.packing import pack
from rerank_plugins.backends._late.store import Kind, in_memory, record, text_digest
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


MANIFEST = "manifest.json"
WRONG = [None, True, 7, -0.5, "text", "../x", "", "\0", [], {}, [[]], {"a": {}}, 10**400]


def small(folder):
    """A saved index that keeps its vectors beside it; its manifest and the folder of its files."""
    eye, names = np.eye(3), ["1", "2", "3"]
    texts = [Passage("one", title="a title"), "two", "three"]
    index = FaissIndex.build(eye, ids=names, texts=texts).index
    FaissIndex(index, ids=names, texts=texts, vectors=eye).save(folder)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    return manifest, folder / manifest["generation"]


def copied(tmp_path):
    """`small` in the folder "index", made once and copied for each case."""
    whole, folder = tmp_path / "whole", tmp_path / "index"
    if not whole.exists():
        small(whole)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    return manifest, folder / manifest["generation"]


def loads_or_is_refused(folder):
    try:
        found = FaissIndex.load(folder)
    except InputError as error:
        assert str(folder) in str(error) or "ids repeat" in str(error)  # noqa: PT017
    else:
        assert [hit.id for hit in found.search([0.1, 0.9, 0.2], 2)] == ["2", "3"]
        assert all(isinstance(text, str) for text in found.texts)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_bytes_of_any_file_whose_digest_is_right(tmp_path, data):
    manifest, generation = copied(tmp_path)
    # FAISS itself ends the process on some damaged files of its own: its digest protects it.
    name = data.draw(st.sampled_from(["passages.jsonl", "vectors.npy", MANIFEST]))
    path = tmp_path / "index" / MANIFEST if name == MANIFEST else generation / name
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.sampled_from([start, min(len(whole), start + 5), len(whole)]))
    added = data.draw(st.binary(max_size=12) | st.sampled_from([b"PK\x03\x04", b"[" * 100_000]))
    path.write_bytes(whole[:start] + added + whole[stop:])
    if name != MANIFEST:
        manifest["files"][name] = digest(path)
        (tmp_path / "index" / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    try:
        found = FaissIndex.load(tmp_path / "index")
    except InputError:
        return
    assert len(found.ids) == len(found.texts) == 3
    assert np.isfinite(found.vectors).all()
    assert len(found.search([0.1, 0.9, 0.2], 3)) == 3


@given(
    name=st.sampled_from(
        [
            "generation",
            "passages",
            "dimensions",
            "metric",
            "files",
            "format",
            "version",
            "index.faiss",
            "passages.jsonl",
            "vectors.npy",
        ]
    ),
    value=st.sampled_from(WRONG),
)
@settings(max_examples=130, deadline=None, suppress_health_check=list(HealthCheck))
def test_wrong_values_in_a_manifest(tmp_path, name, value):
    manifest, _ = copied(tmp_path)
    holder = manifest["files"] if "." in name else manifest
    holder[name] = value
    (tmp_path / "index" / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    loads_or_is_refused(tmp_path / "index")
    try:
        build(vectors=VECTORS[:9]).save(tmp_path / "index")
    except InputError:
        return
    assert len(FaissIndex.load(tmp_path / "index")) == 9


@pytest.mark.parametrize("row", [{"id": 1}, {"text": None}, {"title": 7}, {"title": None}])
def test_passages_of_other_types(tmp_path, row):
    manifest, generation = small(tmp_path)
    path = generation / "passages.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    path.write_text("\n".join(json.dumps({**one, **row}) for one in rows), "utf-8")
    manifest["files"]["passages.jsonl"] = digest(path)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(InputError, match="does not hold passages"):
        FaissIndex.load(tmp_path)


def test_a_nested_manifest_and_an_empty_file_of_vectors(tmp_path):
    manifest, generation = small(tmp_path)
    (generation / "vectors.npy").write_bytes(b"")
    manifest["files"]["vectors.npy"] = digest(generation / "vectors.npy")
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        FaissIndex.load(tmp_path)
    (tmp_path / MANIFEST).write_text("[" * 200_000, "utf-8")
    with pytest.raises(InputError, match="damaged"):
        FaissIndex.load(tmp_path)
    with pytest.raises(InputError, match="something else"):
        build().save(tmp_path)


def test_what_a_killed_save_left_is_removed_a_day_later(tmp_path):
    _, generation = small(tmp_path)
    old, new = (tmp_path / f"generation-{digit * 32}" for digit in "0f")
    mine = tmp_path / "generation-of-my-notes"
    outside = tmp_path.parent / "outside"
    for folder in (old, new, mine, outside):
        folder.mkdir()
        (folder / "index.faiss").write_bytes(b"half")
    link = tmp_path / f"generation-{'a' * 32}"
    link.symlink_to(outside)
    drafts = [tmp_path / f"manifest.json.{digit * 32}.draft" for digit in "0f"]
    for draft in drafts:
        draft.write_bytes(b"{")
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (old, old / "index.faiss", mine, mine / "index.faiss", drafts[0], new):
        os.utime(path, (two_days_ago, two_days_ago))
    os.utime(link, (two_days_ago, two_days_ago), follow_symlinks=False)
    os.utime(outside / "index.faiss", (two_days_ago, two_days_ago))
    build(vectors=VECTORS[:9]).save(tmp_path)
    assert not old.exists()
    assert not drafts[0].exists()
    assert not link.is_symlink()
    assert not generation.exists()
    assert new.exists()  # a file in it is new: another process is writing it
    assert drafts[1].exists()
    assert mine.exists()
    assert (outside / "index.faiss").exists()
    assert len(FaissIndex.load(tmp_path)) == 9


def test_token_vectors_are_kept_beside_an_index(tmp_path):
    """They belong to the texts, and are checked as the index's other files are."""
    kind = Kind("k", 2, "float32")
    texts = ["one", "two"]
    rows = [pack(Encoded(np.eye(2, dtype=np.float32), 3), "float32") for _ in texts]
    digests = map(text_digest, texts)
    tokens = in_memory(kind, map(record, digests, rows))
    FaissIndex.build(np.eye(2), ids=["a", "b"], texts=texts, tokens=tokens).save(tmp_path)
    found = FaissIndex.load(tmp_path).tokens
    assert all(text in found for text in texts)
    assert found.kind == kind
    [file] = tmp_path.glob("*/tokens.vectors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"tokens\.vectors"):
        FaissIndex.load(tmp_path)


def test_an_index_without_token_vectors_has_none(tmp_path):
    index = FaissIndex.build(np.eye(2), ids=["a", "b"], texts=["one", "two"])
    index.save(tmp_path)
    assert FaissIndex.load(tmp_path).tokens is None
    with pytest.raises(InputError, match="tokens is of type list"):
        FaissIndex.build(np.eye(2), ids=["a", "b"], texts=["one", "two"], tokens=[])
