"""Scores and orders of every kind, and the ranks they make."""

import numpy as np

from rerank_plugins.feedback import refine_query
from rerank_plugins.feedback._refine.opinion import mean_ranks


def problem(seed, n=30, dim=16, noise=0.5):
    """A query, passages, and a reranker that knows what the user means."""
    rng = np.random.default_rng(seed)
    query, passages = rng.normal(size=dim), rng.normal(size=(n, dim))
    hidden = query + rng.normal(size=dim)
    return query, passages, passages @ hidden + noise * rng.normal(size=n), hidden


def test_a_passage_that_was_not_reranked_counts_as_the_lowest():
    query, passages, scores, _ = problem(3, 40, 12, noise=0.1)
    head = np.where(np.arange(40) < 20, scores, np.nan)
    lowest = np.where(np.arange(40) < 20, scores, scores[:20].min())
    found = refine_query(query, passages, head)
    # The same scores, but not the same ranks: the lowest that was reranked is above the others.
    assert np.abs(found.vector - refine_query(query, passages, lowest).vector).max() < 0.2
    order = np.argsort(-scores[:20])
    alone = refine_query(query, passages, order=order)
    assert alone.skipped == found.skipped == ""
    below = refine_query(query, passages, order=[*order, *range(20, 40)])
    assert not np.allclose(alone.vector, below.vector)  # the order below was not given


def test_ties_share_their_rank_whatever_their_order():
    query, passages, scores, _ = problem(5, 30, 8)
    grades = np.round(scores)
    shuffle = np.random.default_rng(0).permutation(30)
    one = refine_query(query, passages, grades)
    other = refine_query(query, passages[shuffle], grades[shuffle])
    assert np.abs(one.vector - other.vector).max() < 1e-9
    assert mean_ranks(np.array([[2.0, 1.0, 2.0, 0.0]])).tolist() == [[1.5, 3.0, 1.5, 4.0]]


def test_half_of_the_scores_tied_and_the_rest_unknown_still_says_something():
    query, passages, _, _ = problem(0, 30, 8)
    nearest = np.argsort(-(passages @ query))
    scores = np.full(30, np.nan)
    scores[nearest[:10]] = 1.0
    found = refine_query(query, passages, scores)
    assert found.skipped == ""  # ten are above the other twenty
    for method in ("refit", "first"):
        assert "same score" in refine_query(query, passages, scores, method=method).skipped


def test_none_is_a_passage_that_was_not_reranked():
    query, passages, scores, _ = problem(0, 10, 4)
    some = [None, *scores[1:]]
    expected = refine_query(query, passages, [np.nan, *scores[1:]]).vector
    assert (refine_query(query, passages, some).vector == expected).all()


def test_orders_of_every_kind():
    query, passages, scores, _ = problem(0, 30, 4)
    order = np.argsort(-scores)
    expected = refine_query(query, passages, order=order).vector
    for same in (order.tolist(), tuple(order), iter(order), order.astype(np.uint8)):
        assert (refine_query(query, passages, order=same).vector == expected).all()
    assert refine_query(query, passages, order=[]).skipped


def test_lists_are_as_good_as_arrays():
    query, passages, scores, _ = problem(4, 10, 4)
    lists = refine_query(query.tolist(), passages.tolist(), scores.tolist())
    assert (lists.vector == refine_query(query, passages, scores).vector).all()
