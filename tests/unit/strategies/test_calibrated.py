"""Scores and places that became probabilities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage, Reranker
from rerank_plugins.registry import from_spec, to_spec
from rerank_plugins.strategies import (
    AttentionScore,
    Blend,
    Calibrated,
    Head,
    Hybrid,
    PairScore,
)
from rerank_plugins.testing import Failing, Oracle

BY_VALUE = Oracle(key=lambda query, passage: float(passage))
NUMBERS = st.floats(-50, 50)


def ranked(passages, **numbers):
    return Reranker(Calibrated(PairScore(), **numbers), BY_VALUE).rank("q", passages)


def listed(*scores, text="0"):
    """Passages that the model finds equal, with these scores of a first stage."""
    return [Passage(text, score=score) for score in scores]


def test_a_score_becomes_a_probability():
    """Log-odds of ln 3, 0 and -ln 3 are probabilities of 3/4, 1/2 and 1/4."""
    ranking = ranked(["1", "3", "2"], slope=math.log(3), intercept=-2 * math.log(3))
    assert ranking.order == (1, 2, 0)
    assert ranking.scores == pytest.approx((0.75, 0.5, 0.25))
    assert ranking.score_kind == "probability"
    assert ranking.model_scores == ()  # a threshold is compared with the probability


def test_a_place_counts_by_its_reciprocal():
    """With k = 1: places / 2 and places / 3."""
    ranking = ranked(listed(0.9, 0.2), places=6.0, k=1.0)
    assert ranking.scores == pytest.approx((1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-2))))


@pytest.mark.parametrize(
    "scores",
    [
        (None, None, None),
        (0.9, None, 0.1),
        (0.9, math.nan, 0.1),
        (0.9, 0.1, 0.5),  # merged lists
        (1.0, 1.0, 1.0),  # a filter's
        (0.9,),
    ],
)
def test_a_list_in_no_order_has_no_places(scores):
    passages = listed(*scores)
    assert set(ranked(passages, places=6.0, unplaced=math.log(3)).scores) == {0.75}


@pytest.mark.parametrize("scores", [(9.0, 8.0, 8.0), (0.1, 0.1, 0.4), (-0.1, -0.3, -0.4)])
def test_neither_scale_nor_direction_of_foreign_scores_matters(scores):
    same = ranked(listed(3.0, 2.0, 1.0), places=3.0)
    assert ranked(listed(*scores), places=3.0).scores == same.scores


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.floats(0.01, 20), NUMBERS, st.data())
def test_one_passage_s_probability_depends_on_no_other(values, slope, intercept, data):
    texts = [repr(value) for value in values]
    ranking = ranked(texts, slope=slope, intercept=intercept)
    alone = [ranked([text], slope=slope, intercept=intercept).scores[0] for text in texts]
    assert ranking.scores == tuple(alone[i] for i in ranking.order)
    assert all(0 <= score <= 1 for score in ranking.scores)


@given(st.lists(NUMBERS, max_size=8), st.floats(0.01, 1e6), st.floats(-1e6, 1e6))
def test_without_places_the_order_is_the_model_s(values, slope, intercept):
    """Where two probabilities are 0 or 1 in floating point, the scores still decide."""
    texts = [repr(value) for value in values]
    alone = Reranker(PairScore(), BY_VALUE).rank("q", texts)
    mapped = ranked(texts, slope=slope, intercept=0.0)
    assert [values[i] for i in mapped.order] == pytest.approx([values[i] for i in alone.order])
    assert ranked(texts, slope=slope, intercept=intercept).score_kind == "probability" or not texts


def test_an_order_without_scores_stays_as_it_is():
    texts = ["1", "3", "2"]
    by_order = Reranker(Blend(PairScore()), BY_VALUE).rank("q", texts)
    kept = Reranker(Calibrated(Blend(PairScore())), BY_VALUE).rank("q", texts)
    assert (kept.order, kept.scores, kept.score_kind) == (by_order.order, by_order.scores, "rank")


@pytest.mark.parametrize("inner", [Hybrid(PairScore()), AttentionScore()])
def test_scores_of_one_list_alone_are_refused(inner):
    message = f"{type(inner).__name__} compare within one list alone"
    with pytest.raises(InputError, match=message):
        Calibrated(inner)
    spec = {"name": "calibrated", "inner": to_spec("strategies", inner)}
    with pytest.raises(InputError, match=message):
        from_spec("strategies", spec)


def test_what_a_mixture_holds_is_calibrated_instead():
    with pytest.raises(InputError, match=r"Hybrid\(Calibrated\(PairScore\(...\)\)\)"):
        Calibrated(Hybrid(PairScore()))
    ranking = Reranker(Hybrid(Calibrated(PairScore())), BY_VALUE).rank("q", listed(2.0, 1.0))
    assert (ranking.score_kind, ranking.model_score_kind) == ("z-score", "probability")


def test_scores_of_one_list_alone_are_refused_behind_another_strategy_too():
    with pytest.raises(InputError, match="Head compare within one list alone"):
        Reranker(Calibrated(Head(Hybrid(PairScore()))), BY_VALUE).rank("q", ["1", "3"])


def test_a_failure_gives_no_probabilities():
    backend = Failing(when=lambda call: call.passage == "3", otherwise=BY_VALUE)
    strategy = Calibrated(PairScore(), places=1.0)
    ranking = Reranker(strategy, backend, on_error="keep_order").rank("q", ["1", "3", "2"])
    assert ranking.order == (2, 1, 0)
    assert (ranking.score_kind, ranking.report.fallback) == ("rank", True)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"slope": 0.0}, "slope is 0.0"),
        ({"slope": -1.0}, "slope is -1.0"),
        ({"slope": math.nan}, "slope is nan"),
        ({"places": -0.1}, "places is -0.1"),
        ({"k": -1.0}, "k is -1.0"),
        ({"intercept": math.inf}, "intercept is inf"),
        ({"intercept": math.nan}, "intercept is nan"),
        ({"unplaced": "much"}, "unplaced is 'much'"),
    ],
)
def test_refused_settings(numbers, message):
    with pytest.raises(InputError, match=message):
        Calibrated(PairScore(), **numbers)


def test_the_numbers_are_in_the_spec():
    strategy = Calibrated(PairScore(), slope=7.5, intercept=-5.7, places=1.6, k=2.0, unplaced=0.2)
    assert from_spec("strategies", to_spec("strategies", strategy)) == strategy


def test_stated_scores_that_rise_are_in_no_first_stage_s_order():
    same = Oracle(key=lambda query, passage: 0.0)
    ranker = Reranker(Calibrated(PairScore(), places=2.0, k=0.0, unplaced=-1.0), same)
    best_first = [Passage("a", distance=0.1), Passage("b", distance=0.2)]
    assert ranker.rank("q", best_first).scores[0] == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert ranker.rank("q", best_first[::-1]).scores[0] == pytest.approx(1 / (1 + math.exp(1.0)))
