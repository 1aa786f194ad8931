"""A list's beginning ranked alone, and lists that are left alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage, Reranker
from rerank_plugins.strategies import Head, Hybrid, PairScore, SingleToken, When, margin_of
from rerank_plugins.testing import Failing, Oracle

BY_VALUE = Oracle(key=lambda query, passage: float(passage))


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 14))
def test_the_first_are_ranked_and_the_tail_stays(values, n):
    ranking = Reranker(Head(PairScore(), n=n), BY_VALUE).rank("q", [str(v) for v in values])
    head = sorted(range(min(n, len(values))), key=lambda i: -values[i])
    assert list(ranking.order) == head + list(range(len(head), len(values)))
    assert ranking.usage.calls == len(head)
    if 0 < len(values) <= n:
        assert ranking.score_kind == "logit"


def test_a_whole_list_keeps_the_model_s_own_scores():
    passages = [Passage("1", score=3.0), Passage("2", score=2.0)]
    ranking = Reranker(Head(Hybrid(PairScore()), n=2), BY_VALUE).rank("q", passages)
    assert ranking.model_scores == (1.0, 2.0)


def test_a_failure_costs_the_head_its_order():
    ranking = Reranker(Head(SingleToken(), n=2), Failing(), on_error="keep_order").rank(
        "q", ["abc"] * 3
    )
    assert ranking.order == (0, 1, 2)
    assert ranking.report.unread == {0, 1}


def given_scores(*scores):
    return [Passage(str(i), score=score) for i, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "margin"),
    [
        ((9.0, 5.0, 1.0), 0.5),
        ((9.0, 9.0, 1.0), 0.0),
        ((9.0, 1.0, 1.0), 1.0),
        ((9.0, 1.0), None),
        ((9.0,), None),
        ((), None),
        ((5.0, 5.0, 5.0), None),
        ((1.0, 5.0, 9.0), None),
        ((9.0, 1.0, 5.0), None),
        ((9.0, None, 1.0), None),
        ((9.0, math.nan, 1.0), None),
        ((math.inf, 2.0, 1.0), None),
    ],
)
def test_a_margin_is_a_share_of_the_range_of_scores(scores, margin):
    assert margin_of(scores) == margin


@pytest.mark.parametrize(
    ("scores", "skipped"),
    [((9.0, 2.0, 1.0), 1), ((9.0, 5.0, 1.0), 1), ((9.0, 6.0, 1.0), 0), ((5.0, 5.0, 5.0), 0)],
)
def test_nothing_is_asked_where_the_first_stage_is_sure(scores, skipped):
    ranking = Reranker(When(PairScore(), margin=0.5), BY_VALUE).rank("q", given_scores(*scores))
    assert ranking.report.skipped == skipped
    assert ranking.order == ((0, 1, 2) if skipped else (2, 1, 0))
    assert ranking.usage.calls == (0 if skipped else 3)
    assert not ranking.report.fallback
    assert not ranking.report.unscored


def test_distances_count_as_their_opposite():
    ranking = Reranker(When(PairScore(), margin=0.5), BY_VALUE).rank(
        "q", given_scores(0.1, 0.8, 0.9)
    )
    assert ranking.report.skipped == 1


@pytest.mark.parametrize("scores", [(None, None, None), (9.0, None, 1.0), (9.0, 2.0, math.nan)])
def test_a_list_without_scores_is_ranked_and_the_report_says_why(scores):
    ranking = Reranker(When(PairScore(), margin=0.1), BY_VALUE).rank("q", given_scores(*scores))
    assert ranking.order == (2, 1, 0)
    assert ranking.report.skipped == 0
    missing = {i for i, s in enumerate(scores) if s is None or math.isnan(s)}
    assert ranking.report.unscored == missing


@pytest.mark.parametrize(
    "build",
    [
        lambda: Head(PairScore(), n=0),
        lambda: Head("pair-score"),
        lambda: When(PairScore(), margin=0),
        lambda: When(PairScore(), margin=math.nan),
        lambda: When("pair-score"),
    ],
)
def test_what_cannot_work_is_refused(build):
    with pytest.raises(InputError):
        build()
