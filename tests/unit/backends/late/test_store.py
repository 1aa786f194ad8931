"""Files of token vectors: what comes back, and every sort of damage."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.backends._late.encoding import Encoded, unit
from rerank_plugins.backends._late.packing import pack
from rerank_plugins.backends._late.store import (
    Kind,
    TokenVectors,
    in_memory,
    read_folder,
    record,
    text_digest,
)


def packed(text, precision="int8", dim=6):
    """Vectors that depend on the text alone."""
    seed = int.from_bytes(text_digest(text)[:4], "big")
    rng = np.random.default_rng(seed)
    rows = unit([rng.normal(size=(1 + seed % 5, dim))])
    return pack(Encoded(rows, 9, bool(seed % 2)), precision)


def file_of(texts, precision="int8", key="k"):
    kind = Kind(key, 6, precision)
    return in_memory(kind, [record(text_digest(t), packed(t, precision)) for t in texts])


def same(one, other):
    return (
        np.array_equal(one.codes, other.codes)
        and one.tokens == other.tokens
        and one.truncated == other.truncated
    )


@pytest.mark.parametrize("precision", ["int8", "float16", "float32"])
@given(st.sets(st.text(max_size=6), max_size=6), st.sets(st.text(max_size=6), max_size=6))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_each_text_gets_its_own_vectors_and_no_others(tmp_path, precision, known, asked):
    file_of(known, precision).save(tmp_path / "v.vectors")
    found = TokenVectors.load(tmp_path / "v.vectors")
    assert len(found) == len(known)
    for text in known | asked:
        vectors = found.find(text_digest(text))
        assert (vectors is not None) == (text in known) == (text in found)
        if vectors is not None:
            assert same(vectors, packed(text, precision))


def test_lone_surrogates_are_texts_too():
    assert len({text_digest(t) for t in ("\ud800", "\ud801", "?", "\ufffd")}) == 4


WHOLE = bytes(file_of(["a", "b", "c"])._buffer)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_changed_byte_is_an_error_or_changes_nothing(tmp_path, place, change):
    """A byte of padding says nothing; a changed digest makes a text unknown."""
    data = bytearray(WHOLE)
    data[place] ^= change
    (tmp_path / "v.vectors").write_bytes(data)
    try:
        found = TokenVectors.load(tmp_path / "v.vectors")
        vectors = {text: found.find(text_digest(text)) for text in "abc"}
    except InputError:
        return
    assert found.kind.key != "k" or found.kind == Kind("k", 6, "int8")
    if found.kind.key == "k":
        for text, one in vectors.items():
            assert one is None or same(one, packed(text))


HEAD = len(Kind("k", 6, "int8").head())


@pytest.mark.parametrize("size", [0, 5, HEAD - 1, HEAD + 1, HEAD + 64, len(WHOLE) - 1])
def test_a_file_that_is_cut_off_is_refused(tmp_path, size):
    (tmp_path / "v.vectors").write_bytes(WHOLE[:size])
    with pytest.raises(InputError, match=r"v\.vectors"):
        TokenVectors.load(tmp_path / "v.vectors")


def test_in_a_folder_the_last_record_of_a_killed_process_is_left_out(tmp_path, caplog):
    (tmp_path / "a.vectors").write_bytes(WHOLE[:-30])
    (tmp_path / "b.vectors").write_bytes(WHOLE[:10])
    (tmp_path / "c.vectors").write_bytes(b"")
    (tmp_path / "d.vectors").write_bytes(b"{}\n" + WHOLE)
    (tmp_path / "e.vectors").write_bytes(b"\x80" * 5000)
    (tmp_path / "f.vectors").write_bytes(WHOLE)
    found, whole = read_folder(tmp_path)
    assert (len(found), len(whole)) == (2, 3)
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 5
    for name, message in zip("abcde", said, strict=True):
        assert str(tmp_path / f"{name}.vectors") in message
    assert "the last records of" in said[0]
    assert "are not whole and are not used" in said[0]


@pytest.mark.parametrize("text", ["", "{}\n", "null\n", "[" * 5000 + "\n", "\x80\n"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "v.vectors").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError):
        TokenVectors.load(tmp_path / "v.vectors")


def test_another_version_is_refused(tmp_path):
    data = WHOLE.replace(b'"version": 1', b'"version": 9')
    (tmp_path / "v.vectors").write_bytes(data)
    with pytest.raises(InputError, match="version 9, expected 1"):
        TokenVectors.load(tmp_path / "v.vectors")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="something else than token vectors"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="cannot read the folder"):
        read_folder(tmp_path / "thesis.txt")
    assert read_folder(tmp_path / "absent") == []


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent"):
        TokenVectors.load(tmp_path / "absent.vectors")


def test_a_file_that_is_shortened_while_it_is_used_is_damaged(tmp_path):
    """To read what is mapped beyond the end of a file would kill the process."""
    path = tmp_path / "v.vectors"
    path.write_bytes(WHOLE)
    found = TokenVectors.load(path)
    before = found.find(text_digest("a"))
    os.truncate(path, HEAD)
    for read in (lambda: found.find(text_digest("a")), lambda: found.save(tmp_path / "copy")):
        with pytest.raises(InputError, match=r"v\.vectors.* damaged: the file is shorter"):
            read()
    assert same(before, packed("a"))
    path.write_bytes(WHOLE + WHOLE[HEAD:])
    assert same(found.find(text_digest("a")), packed("a"))


def test_a_file_that_is_replaced_while_it_is_used_stays_readable(tmp_path):
    path = tmp_path / "v.vectors"
    path.write_bytes(WHOLE)
    found = TokenVectors.load(path)
    (tmp_path / "new").write_bytes(WHOLE[:HEAD])
    (tmp_path / "new").replace(path)
    for text in "abc":
        assert same(found.find(text_digest(text)), packed(text))
    assert len(TokenVectors.load(path)) == 0
