"""The methods "safe" and "bold", against their formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.feedback import refine_query


def problem(seed, n=30, dim=16, noise=0.5):
    """A query, passages, and a reranker that knows what the user means."""
    rng = np.random.default_rng(seed)
    query, passages = rng.normal(size=dim), rng.normal(size=(n, dim))
    hidden = query + rng.normal(size=dim)
    return query, passages, passages @ hidden + noise * rng.normal(size=n), hidden


def by_definition(query, passages, scores, degrees=25.0, smoothing=10.0):
    """The turn of a trusted reranker, written down from its formula."""

    def standardise(x):
        return (x - x.mean()) / x.std()

    ranks = np.array([(scores > s).sum() + ((scores == s).sum() + 1) / 2 for s in scores])
    y = standardise(standardise(scores) + standardise(-np.log(ranks)))
    centred = passages - passages.mean(axis=0)
    gram = centred @ centred.T
    ridge = smoothing * np.trace(gram) / len(y) * np.eye(len(y))
    towards = centred.T @ np.linalg.inv(gram + ridge) @ y
    length = np.linalg.norm(query)
    unit = query / length
    aside = towards - towards @ unit * unit
    aside /= np.linalg.norm(aside)
    angle = np.radians(degrees)
    return length * (np.cos(angle) * unit + np.sin(angle) * aside)


@pytest.mark.parametrize("seed", range(5))
def test_the_default_is_its_formula(seed):
    query, passages, scores, _ = problem(seed, 40, 12, noise=0.1)
    found = refine_query(query, passages, scores)
    assert found.trust == 1
    assert np.abs(found.vector - by_definition(query, passages, scores)).max() < 1e-9
    bold = refine_query(query, passages, scores, method="bold")
    assert np.abs(bold.vector - by_definition(query, passages, scores, 45, 3)).max() < 1e-9


def test_it_finds_what_the_user_means():
    gains = []
    for seed in range(30):
        query, passages, scores, hidden = problem(seed, 60, 16, noise=1.0)
        refined = refine_query(query, passages, scores)
        unit = hidden / np.linalg.norm(hidden)
        gains.append((refined.vector - query) @ unit)
        assert refined.loss_after < refined.loss_before
    assert min(gains) > 0


def test_a_random_reranker_moves_little_and_a_reversed_one_nothing():
    trust = []
    for seed in range(200):
        query, passages, _, _ = problem(seed, 50, 32)
        random = refine_query(query, passages, np.random.default_rng(seed + 999).normal(size=50))
        trust.append(random.trust)
        reversed_ = refine_query(query, passages, -(passages @ query))
        assert reversed_.trust == 0
        assert "random" in reversed_.skipped
        assert (reversed_.vector == query).all()
    assert np.mean(trust) < 0.2


def test_a_consistent_reranker_that_contradicts_the_retriever_is_not_followed():
    """Scores that are smooth over the vectors, and point a little away from the query."""
    for seed in range(20):
        query, passages, _, hidden = problem(seed, 60, 16)
        aside = hidden - hidden @ query / (query @ query) * query
        away = aside / np.linalg.norm(aside) - 0.3 * query / np.linalg.norm(query)
        found = refine_query(query, passages, passages @ away)
        if np.corrcoef(passages @ away, passages @ query)[0, 1] < -0.1:
            assert found.trust == 0
        towards = refine_query(query, passages, passages @ (away + query))
        assert towards.trust > 0.9


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.floats(-100, 100), st.floats(1e-6, 1e6))
def test_scaling_changes_nothing(seed, factor, shift, length):
    query, passages, scores, _ = problem(seed, 25, 8, noise=0.2)
    for method in ("safe", "bold"):
        one = refine_query(query, passages, scores, method=method)
        scored = refine_query(query, passages, factor * scores + shift, method=method)
        assert np.abs(one.vector - scored.vector).max() < 1e-5
        scaled = refine_query(length * query, factor * passages, scores, method=method)
        assert np.abs(length * one.vector - scaled.vector).max() < 1e-5 * length


def test_single_precision_stays_and_agrees():
    query, passages, scores, _ = problem(2, 50, 32)
    small = refine_query(query.astype(np.float32), passages.astype(np.float32), scores)
    assert small.vector.dtype == np.float32
    assert np.abs(small.vector - refine_query(query, passages, scores).vector).max() < 1e-4
