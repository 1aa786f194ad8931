"""`refine_query`: every method, batches, and input from which nothing can be learned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rerank_plugins import InputError, UnknownNameError
from rerank_plugins.feedback import First, Refit, Turn, refine_query

METHODS = ["safe", "bold", "refit", "first"]


def problem(seed, n=30, dim=16, noise=0.5):
    """A query, passages, and a reranker that knows what the user means."""
    rng = np.random.default_rng(seed)
    query, passages = rng.normal(size=dim), rng.normal(size=(n, dim))
    hidden = query + rng.normal(size=dim)
    return query, passages, passages @ hidden + noise * rng.normal(size=n), hidden


@given(
    arrays(np.float64, (12, 4), elements=st.floats(-1e6, 1e6, width=32)),
    arrays(np.float64, 12, elements=st.floats(-1e30, 1e30) | st.just(float("nan"))),
    arrays(np.float64, 4, elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(["safe", "bold"]),
)
def test_whatever_comes_in_the_vector_is_finite_and_keeps_its_length(
    passages, scores, query, method
):
    found = refine_query(query, passages, scores, method=method)
    assert np.isfinite(found.vector).all()
    assert np.isfinite([found.angle, found.displacement, found.loss_before, found.loss_after]).all()
    assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(query), rel=1e-6)
    assert found.angle <= 45.01
    if found.skipped:
        assert (found.vector == query).all()
        assert found.angle == found.displacement == found.trust == 0


@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from(METHODS))
def test_a_batch_is_its_queries(seed, size, method):
    rng = np.random.default_rng(seed)
    queries, passages = rng.normal(size=(size, 6)), rng.normal(size=(size, 15, 6))
    scores = rng.normal(size=(size, 15))
    scores[rng.random((size, 15)) < 0.2] = np.nan
    passages[rng.random((size, 15)) < 0.1] = np.nan
    batch = refine_query(queries, passages, scores, method=method)
    assert batch.vector.shape == (size, 6)
    for i in range(size):
        one = refine_query(queries[i], passages[i], scores[i], method=method)
        assert np.abs(batch.vector[i] - one.vector).max() < 1e-9
        assert batch.skipped[i] == one.skipped
        for name in ("angle", "displacement", "loss_before", "loss_after", "trust"):
            assert getattr(batch, name)[i] == pytest.approx(getattr(one, name), abs=1e-9)


def test_a_large_batch_goes_through_in_parts_that_do_not_show():
    rng = np.random.default_rng(0)
    queries, passages = rng.normal(size=(50, 64)), rng.normal(size=(50, 100, 64))
    scores = np.einsum("bkd,bd->bk", passages, queries)
    batch = refine_query(queries, passages, scores)
    last = refine_query(queries[-1], passages[-1], scores[-1])
    assert np.abs(batch.vector[-1] - last.vector).max() < 1e-9
    assert len(batch.skipped) == len(batch.trust) == 50
    empty = refine_query(queries[:0], passages[:0], scores[:0])
    assert empty.vector.shape == (0, 64)
    assert empty.skipped == ()


def test_batches_of_different_lengths_are_padded_with_nan():
    query, passages, scores, _ = problem(2, 20, 8)
    padded = np.vstack([passages, np.full((5, 8), np.nan)])
    found = refine_query(query, padded, np.append(scores, [np.nan] * 5))
    assert np.abs(found.vector - refine_query(query, passages, scores).vector).max() < 1e-9
    # Also where the padding has scores: a passage without a vector says nothing.
    found = refine_query(query, padded, np.append(scores, [99.0] * 5))
    assert np.abs(found.vector - refine_query(query, passages, scores).vector).max() < 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": np.full(10, 0.3)}, "same score"),
        ({"scores": np.full(10, np.nan)}, "fewer than two"),
        ({"scores": [1.0] + [np.nan] * 9}, "fewer than two"),
        ({"scores": [np.inf] + [1.0] * 9}, "infinite"),
        ({"query": np.zeros(4)}, "zero"),
        ({"passages": np.ones((10, 4))}, "same"),
        ({"passages": np.full((10, 4), np.nan)}, "fewer than two"),
    ],
)
def test_degenerate_input_leaves_the_query_and_says_why(method, change, reason):
    query, passages, scores, _ = problem(0, 10, 4)
    given_ = {"query": query, "passages": passages, "scores": scores, **change}
    found = refine_query(given_["query"], given_["passages"], given_["scores"], method=method)
    assert reason in found.skipped
    assert (found.vector == given_["query"]).all()
    assert found.angle == found.displacement == found.trust == 0


@pytest.mark.parametrize("method", ["safe", "bold"])
def test_copies_in_single_precision_are_seen_as_copies(method):
    query, passages, scores, _ = problem(0, 30, 64)
    copies = np.repeat(passages[:1], 30, axis=0).astype(np.float32)
    found = refine_query(query.astype(np.float32), copies, scores, method=method)
    assert "same vector" in found.skipped


@pytest.mark.parametrize("method", METHODS)
def test_one_passage_and_none(method):
    query, passages, scores, _ = problem(0, 10, 4)
    assert refine_query(query, passages[:1], scores[:1], method=method).skipped
    assert refine_query(query, passages[:0], scores[:0], method=method).skipped


@pytest.mark.parametrize("method", METHODS)
def test_two_passages_duplicates_and_few_dimensions(method):
    query, passages, scores, _ = problem(0, 40, 3)  # fewer dimensions than passages
    for rows, values in (
        (passages, scores),
        (passages[:2], scores[:2]),
        (np.repeat(passages[:20], 2, axis=0), np.repeat(scores[:20], 2)),
        (np.vstack([passages[:1].repeat(39, axis=0), passages[1:2]]), scores),
    ):
        found = refine_query(query, rows, values, method=method)
        assert np.isfinite(found.vector).all()


def test_bad_input_is_refused():
    query, passages, scores, _ = problem(0, 10, 4)
    for wrong in (
        lambda: refine_query(query[:3], passages, scores),
        lambda: refine_query(query, passages, scores[:9]),
        lambda: refine_query(query, passages[0], scores),
        lambda: refine_query(query, passages),
        lambda: refine_query(query * np.nan, passages, scores),
        lambda: refine_query("abc", passages, scores),
        lambda: refine_query(query, passages, order=[0, 0, 1]),
        lambda: refine_query(query, passages, order=[0, 10]),
        lambda: refine_query(query, passages, order=[0.5, 1]),
        lambda: refine_query(query, passages, order=[-1, 1]),
        lambda: refine_query(query, passages, order=["a"]),
        lambda: refine_query(query, passages, order=[True, False]),
        lambda: refine_query(query, passages, order=5),
        lambda: refine_query(query[None], passages[None], order=5),
        lambda: refine_query(query + 1j, passages, scores),
        lambda: refine_query(query, passages, ["a"] * 10),
        lambda: refine_query(query[None], passages[None], order=[[0, 1], [1, 0]]),
        lambda: refine_query(query, passages, order=[1, 0], method="refit"),
        lambda: refine_query(query, passages, scores, method=Turn),
        lambda: refine_query(query, passages, scores, method={"name": "safe", "rate": 1}),
        lambda: Turn(degrees=0),
        lambda: Turn(degrees=91),
        lambda: Turn(smoothing=0),
        lambda: Turn(smoothing=float("nan")),
        lambda: Refit(rate=0),
        lambda: Refit(steps=-1),
        lambda: First(steps=0),
    ):
        with pytest.raises(InputError):
            wrong()
    with pytest.raises(UnknownNameError, match="bold"):
        refine_query(query, passages, scores, method="brave")


def test_inputs_are_left_alone_and_the_result_is_the_same_again():
    query, passages, scores, _ = problem(4)
    passages[3] = np.nan
    copies = query.copy(), passages.copy(), scores.copy()
    for method in METHODS:
        one = refine_query(query, passages, scores, method=method)
        assert (refine_query(query, passages, scores, method=method).vector == one.vector).all()
    for kept, now in zip(copies, (query, passages, scores), strict=True):
        assert np.array_equal(kept, now, equal_nan=True)


def test_a_method_of_ones_own():
    class Stay:
        def move(self, feedback):
            from rerank_plugins.feedback._refine.turn import Moved

            zero = np.zeros(len(feedback))
            return Moved(feedback.queries * 2, zero, zero, zero + 1, ("",) * len(feedback))

    query, passages, scores, _ = problem(0)
    assert (refine_query(query, passages, scores, method=Stay()).vector == 2 * query).all()
