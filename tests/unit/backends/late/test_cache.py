"""The cache of vectors: bounded, and never another text's or model's vectors."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.backends._late.cache import VectorCache
from rerank_plugins.backends._late.encoding import Encoded, unit
from rerank_plugins.backends._late.packing import pack
from rerank_plugins.backends._late.store import (
    Kind,
    TokenVectors,
    in_memory,
    record,
    text_digest,
)


def packed(text, key="k", precision="int8"):
    """Vectors that depend on the text and the model alone."""
    seed = int.from_bytes(text_digest(f"{key} {text}")[:4], "big")
    return pack(Encoded(unit([np.random.default_rng(seed).normal(size=(2, 8))]), 4), precision)


def cache(max_bytes=10_000, *, key="k", **options):
    return VectorCache(lambda: Kind(key, 8, "int8"), max_bytes, **options)


SIZE = packed("a").nbytes


@given(
    st.lists(st.tuples(st.sampled_from("kj"), st.sampled_from("abcdefgh")), max_size=40),
    st.integers(0, 5),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_cache_gives_the_vectors_of_the_text_and_the_model(tmp_path_factory, asked, room, keep):
    """Two models take turns; each has its memory, and its folder where there is one."""
    folders = {key: tmp_path_factory.mktemp(key) if keep else None for key in "kj"}
    caches = {key: cache(room * SIZE, key=key, folder=folders[key]) for key in "kj"}
    for key, text in asked:
        found = caches[key].get(text)
        if found is None:
            caches[key].put(text, packed(text, key))
        else:
            assert np.array_equal(found.codes, packed(text, key).codes)
        assert caches[key].nbytes <= room * SIZE
    for key, text in asked if keep else ():
        again = cache(key=key, folder=folders[key]).get(text)
        assert np.array_equal(again.codes, packed(text, key).codes)


def test_what_was_used_last_is_kept():
    kept = cache(2 * SIZE)
    kept.put("a", packed("a"))
    kept.put("b", packed("b"))
    kept.get("a")
    kept.put("c", packed("c"))
    assert kept.get("b") is None
    assert kept.get("a") is not None
    assert kept.nbytes == 2 * SIZE


def test_a_text_larger_than_the_cache_is_not_kept():
    kept = cache(SIZE - 1)
    kept.put("a", packed("a"))
    assert (kept.get("a"), kept.nbytes) == (None, 0)


def test_vectors_of_another_model_are_refused(tmp_path):
    other = in_memory(Kind("j", 8, "int8"), [record(text_digest("a"), packed("a", "j"))])
    with pytest.raises(InputError, match="another model"):
        cache(prepared=[other])
    cache(key="j", folder=tmp_path).put("a", packed("a", "j"))
    with pytest.raises(InputError, match="another model"):
        cache(folder=tmp_path)


def test_prepared_vectors_are_found():
    prepared = in_memory(Kind("k", 8, "int8"), [record(text_digest("a"), packed("a"))])
    kept = cache(0, prepared=[prepared])
    assert np.array_equal(kept.get("a").codes, packed("a").codes)
    assert kept.get("b") is None


def test_what_memory_forgot_is_read_from_the_file_and_never_written_twice(tmp_path):
    kept = cache(0, folder=tmp_path)
    for text in "abab":
        if kept.get(text) is None:
            kept.put(text, packed(text))
        kept.put(text, packed(text))  # even if it is asked to
    assert np.array_equal(kept.get("a").codes, packed("a").codes)
    assert np.array_equal(kept.get("b").codes, packed("b").codes)
    [path] = tmp_path.iterdir()
    size = len(record(text_digest("a"), packed("a")))
    assert path.stat().st_size == len(Kind("k", 8, "int8").head()) + 2 * size


def test_a_forked_process_reads_what_its_parent_wrote(tmp_path, monkeypatch):
    kept = cache(0, folder=tmp_path)
    kept.put("a", packed("a"))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    kept.put("b", packed("b"))
    assert len(list(tmp_path.iterdir())) == 2
    for text in "ab":
        assert np.array_equal(kept.get(text).codes, packed(text).codes)
        assert np.array_equal(cache(folder=tmp_path).get(text).codes, packed(text).codes)


@pytest.mark.parametrize("damage", ["removed", "cut", "changed", "unreadable"])
def test_what_cannot_be_read_back_is_not_known_and_the_log_says_so_once(tmp_path, caplog, damage):
    kept = cache(0, folder=tmp_path)
    kept.put("a", packed("a"))
    kept.put("b", packed("b"))
    [path] = tmp_path.iterdir()
    match damage:
        case "removed":
            path.unlink()
        case "cut":
            os.truncate(path, 100)
        case "changed":
            path.write_bytes(path.read_bytes().replace(packed("a").codes.tobytes()[:4], b"xxxx"))
        case "unreadable":
            path.rename(tmp_path / "elsewhere.vectors")
            path.mkdir()
    assert kept.get("a") is None
    assert damage == "changed" or kept.get("b") is None
    [said] = caplog.records
    assert str(path) in said.getMessage()
    assert damage != "changed" or np.array_equal(kept.get("b").codes, packed("b").codes)


def test_a_file_that_was_removed_is_written_again_with_its_head(tmp_path):
    kept = cache(0, folder=tmp_path)
    kept.put("a", packed("a"))
    [path] = tmp_path.iterdir()
    path.unlink()
    assert kept.get("a") is None
    kept.put("a", packed("a"))
    for known in (kept, cache(folder=tmp_path)):
        assert np.array_equal(known.get("a").codes, packed("a").codes)


def test_a_folder_with_another_precision_is_left_alone(tmp_path):
    other = VectorCache(lambda: Kind("k", 8, "float32"), 0, folder=tmp_path)
    other.put("a", packed("a", precision="float32"))
    kept = cache(0, folder=tmp_path)
    assert kept.get("a") is None
    kept.put("a", packed("a"))
    assert kept.get("a").codes.dtype == np.int8
    again = VectorCache(lambda: Kind("k", 8, "float32"), 0, folder=tmp_path)
    assert again.get("a").codes.dtype == np.float32


def test_what_is_in_memory_outlives_its_file(tmp_path):
    in_memory(Kind("k", 8, "int8"), [record(text_digest("a"), packed("a"))]).save(tmp_path / "f")
    kept = cache(prepared=[TokenVectors.load(tmp_path / "f")])
    found = kept.get("a")
    os.truncate(tmp_path / "f", 64)
    assert np.array_equal(found.codes, packed("a").codes)
    assert np.array_equal(kept.get("a").codes, packed("a").codes)
