"""The cache of vectors: bounded, and never another text's or model's vectors."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.backends._late.cache import VectorCache
from rerank_plugins.backends._late.encoding import Encoded, unit
from rerank_plugins.backends._late.packing import pack
from rerank_plugins.backends._late.store import Kind, in_memory, record, text_digest


def packed(text, key="k"):
    """Vectors that depend on the text and the model alone."""
    seed = int.from_bytes(text_digest(f"{key} {text}")[:4], "big")
    return pack(Encoded(unit([np.random.default_rng(seed).normal(size=(2, 8))]), 4), "int8")


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
