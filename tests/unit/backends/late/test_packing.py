"""Packed vectors, and MaxSim from its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.backends._late.encoding import Encoded, unit
from rerank_plugins.backends._late.packing import pack, similarity


def rows(seed, n, dim=24):
    return unit([np.random.default_rng(seed).normal(size=(n, dim))])


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 30), st.sampled_from([1, 7, 384]))
def test_similarity_is_the_mean_of_the_best_cosines(seed, m, n, dim):
    query, passage = rows(seed, m, dim), rows(seed + 1, n, dim)
    best = [max(sum(a * b for a, b in zip(q, p, strict=True)) for p in passage) for q in query]
    packed = pack(Encoded(passage, n), "float32")
    assert similarity(query, packed) == pytest.approx(sum(best) / m, abs=1e-5)
    assert similarity(query, packed, "sum") == pytest.approx(sum(best), abs=1e-5 * m)


@pytest.mark.parametrize(
    ("precision", "error"), [("float32", 0), ("float16", 3e-4), ("int8", 4e-3)]
)
def test_packed_rows_are_close_and_have_the_length_1(precision, error):
    vectors = rows(0, 50, 384)
    packed = pack(Encoded(vectors, 60, truncated=True), precision)
    assert np.abs(packed.rows - vectors).max() <= error
    assert np.linalg.norm(packed.rows, axis=1) == pytest.approx(1, abs=1e-3)
    assert (packed.tokens, packed.truncated, packed.codes.dtype) == (60, True, precision)
    query = rows(1, 8, 384)
    expected = (query @ packed.rows.T).max(axis=1).mean()
    assert similarity(query, packed) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_row_of_zeros_stays_one(precision):
    packed = pack(Encoded(np.zeros((1, 4), np.float32), 1), precision)
    assert packed.rows.tolist() == [[0, 0, 0, 0]]
    assert similarity(rows(0, 2, 4), packed) == 0


def test_eight_bits_take_a_fourth():
    sizes = {p: pack(Encoded(rows(0, 100, 384), 100), p).nbytes for p in ("float32", "int8")}
    assert sizes["int8"] < sizes["float32"] / 3.8
