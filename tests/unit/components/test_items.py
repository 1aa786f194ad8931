"""Items as candidates, and rankings as results."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage, Ranking, Report, Reranker, Usage
from rerank_plugins.components import candidates, check_threshold, check_top_k, conclude
from rerank_plugins.components._items import direction_of
from rerank_plugins.strategies import Hybrid, PairScore
from rerank_plugins.testing import Oracle

THREE = candidates(["a", "b", "c"], ["one", "two", "three"], [0.3, None, 0.1])


def test_of_several_copies_the_best_scored_one_stays_at_the_first_position():
    found = candidates(
        ["a", "b", "a", "b", "c"],
        ["a0", "b1", "a2", "b3", "c4"],
        [0.1, None, np.float32(0.5), 0.0, math.nan],
    )
    assert found.positions == (2, 3, 4)
    assert found.texts == ("a2", "b3", "c4")
    assert found.scores[:2] == (0.5, 0.0)
    assert found.duplicates == 2
    assert all(isinstance(text, Passage) for text in found.texts)
    assert [type(score) for score in found.scores] == [float] * 3
    assert found.texts[0].score == 0.5


@pytest.mark.parametrize(
    ("threshold", "top_k", "expected"),
    [
        (None, None, [(2, 2.0), (0, 1.0), (1, 0.0)]),
        (1.0, None, [(2, 2.0), (0, 1.0)]),  # inclusive
        (1.5, 2, [(2, 2.0)]),
        (None, 1, [(2, 2.0)]),
        (9.0, None, []),
    ],
)
def test_a_threshold_comes_before_top_k(threshold, top_k, expected):
    ranking = Ranking((2, 0, 1), (2.0, 1.0, 0.0), "logit")
    outcome = conclude(ranking, THREE, top_k=top_k, score_threshold=threshold)
    assert list(outcome.lines) == expected
    assert outcome.meta["score_threshold_applied"] == (threshold is not None)
    assert outcome.warning == ""


def test_a_threshold_is_not_applied_to_places():
    outcome = conclude(Ranking((2, 0, 1)), THREE, top_k=None, score_threshold=0.9)
    assert len(outcome.lines) == 3
    assert not outcome.meta["score_threshold_applied"]
    assert "score_threshold is ignored" in outcome.warning


def test_a_kept_order_keeps_the_scores_of_the_items():
    ranking = Ranking((0, 1, 2), report=Report(fallbacks=("the server is down", "again")))
    outcome = conclude(ranking, THREE, top_k=None)
    assert outcome.lines == ((0, 0.3), (1, None), (2, 0.1))
    assert outcome.meta["fallback"]
    assert outcome.meta["causes"] == ["the server is down", "again"]
    assert outcome.warning == "the order was kept: the server is down (and 1 more)"


def test_what_the_model_left_out_can_be_dropped():
    ranking = Ranking((2, 0, 1), report=Report(missing=frozenset({0, 1})))
    assert [i for i, _ in conclude(ranking, THREE, top_k=None).lines] == [2, 0, 1]
    dropped = conclude(ranking, THREE, top_k=None, drop_unranked=True)
    assert [i for i, _ in dropped.lines] == [2]
    assert dropped.meta["repairs"]["missing"] == 2


@pytest.mark.parametrize(
    ("ranking", "texts", "says"),
    [
        (Ranking((0, 1), (1.0, 1.0), "logit"), ["a", "b"], "the same score"),
        (Ranking((0, 1), (1.0, 1.0), "logit"), ["a", "a"], ""),
        (Ranking((0, 1)), ["", "b"], "1 of 2 passages have no text"),
        (Ranking((0, 1), report=Report(cut_answers=3)), ["a", "b"], "3 answers were cut"),
        (Ranking((0, 1), report=Report(invalid_grades=2)), ["a", "b"], "2 grades"),
    ],
)
def test_warnings(ranking, texts, says):
    found = candidates(["x", "y"], texts, [None, None])
    warning = conclude(ranking, found, top_k=None).warning
    assert says in warning
    assert bool(says) == bool(warning)


def test_empty_copies_are_counted():
    found = candidates(["x", "y", "x"], ["", "b", ""], [None] * 3)
    warning = conclude(Ranking((0, 1)), found, top_k=None).warning
    assert warning == "2 of 3 passages have no text"


@pytest.mark.parametrize(
    ("scores", "own", "says"),
    [
        ((1.0, -1.0), (2.0, 2.0), True),  # the retriever alone ranked them
        ((0.0, 0.0), (2.0, 1.0), False),  # the retriever cancelled what the model said
    ],
)
def test_the_warning_of_equal_scores_is_about_the_model(scores, own, says):
    ranking = Ranking((0, 1), scores, "z-score", model_scores=own, model_score_kind="logit")
    found = candidates(["x", "y"], ["a", "b"], [0.9, 0.1])
    assert ("the same score" in conclude(ranking, found, top_k=None).warning) == says


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_numbers_of_results_that_are_refused(value):
    with pytest.raises(InputError, match="top_n must be"):
        check_top_k("top_n", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", True])
def test_thresholds_that_are_refused(value):
    with pytest.raises(InputError, match="score_threshold must be a number or None"):
        check_threshold(value)


def test_numpy_numbers_are_numbers():
    check_top_k("top_k", np.int64(3))
    check_threshold(np.float32(0.5))
    check_top_k("top_k", None)
    check_threshold(None)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], "none"),
        ([None, None], "none"),
        ([math.nan], "none"),
        ([0.5], "unknown"),
        ([0.5, 0.5], "unknown"),
        ([0.9, 0.1], "similarity"),
        ([0.9, 0.9, 0.1], "similarity"),
        ([0.1, 0.9], "distance"),
        ([0.0, 0.0, 3.0], "distance"),
        ([-3.0, -1.0], "distance"),
        ([0.9, 0.1, 0.5], "unknown"),
        ([0.9, None], "incomplete"),
        ([0.9, math.inf], "incomplete"),
    ],
)
def test_the_direction_of_scores(scores, expected):
    assert direction_of(scores) == expected


@pytest.mark.parametrize(
    ("scores", "carried"),
    [([0.1, 0.9], [-0.1, -0.9]), ([0.9, 0.1], [0.9, 0.1]), ([0.5, 0.5], [None, None])],
)
def test_passages_carry_scores_of_which_higher_is_better(scores, carried):
    found = candidates(["a", "b"], ["one", "two"], scores)
    assert [text.score for text in found.texts] == carried
    assert found.scores == tuple(scores)  # the items keep their own


def test_of_two_copies_the_nearer_one_is_ranked():
    found = candidates(["a", "b", "a"], ["near", "middle", "far"], [0.1, 0.5, 0.9])
    assert (found.texts, found.scores) == (("near", "middle"), (0.1, 0.5))


NUMBERS = st.integers(-1000, 1000).map(float)
LISTS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=12)


def mixed(scores, own, alpha):
    """The order by `Hybrid` of passages with these scores of a store and of the model."""
    texts = [str(i) for i in range(len(own))]
    found = candidates(texts, texts, scores)
    model = Oracle(key=lambda query, passage: own[int(passage)])
    strategy = Hybrid(PairScore(), alpha=alpha, places=False)
    return replace(Reranker(strategy, model).rank("q", found.texts), usage=Usage())


@given(LISTS, st.floats(0, 1))
def test_distances_vote_like_their_negatives(pairs, alpha):
    distances = sorted(distance for distance, _ in pairs)
    own = [score for _, score in pairs]
    one = mixed(distances, own, alpha)
    assert one == mixed([-distance for distance in distances], own, alpha)


@given(LISTS, st.floats(0, 1))
def test_scores_without_a_direction_do_not_vote(pairs, alpha):
    scores, own = map(list, zip(*pairs, strict=True))
    expected = mixed([None] * len(own), own, alpha)
    if scores not in (sorted(scores), sorted(scores, reverse=True)):
        assert mixed(scores, own, alpha) == expected
    assert mixed([scores[0]] * len(own), own, alpha) == expected


KINDS = st.sampled_from(["logit", "logprob", "probability", "grade"])
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(KINDS, st.lists(FINITE, min_size=1, max_size=9), st.floats(0, 1))
def test_scaled_scores_are_from_0_to_1_and_keep_the_order(kind, values, threshold):
    if kind == "probability":
        values = [abs(math.tanh(value)) for value in values]
    scores = tuple(sorted(values, reverse=True))
    texts = [str(i) for i in range(len(scores))]
    ranking = Ranking(tuple(range(len(scores))), scores, kind)
    found = candidates(texts, texts, [None] * len(texts))
    options = {"top_k": None, "scale_score": True, "top_grade": 10.0}
    lines = conclude(ranking, found, **options).lines
    assert [i for i, _ in lines] == list(ranking.order)
    scaled = [score for _, score in lines]
    assert all(0 <= score <= 1 for score in scaled)
    assert scaled == sorted(scaled, reverse=True)
    above = conclude(ranking, found, score_threshold=threshold, **options).lines
    assert above == tuple(line for line in lines if line[1] >= threshold)


@pytest.mark.parametrize(
    ("kind", "score", "expected"),
    [
        ("logit", 0.0, 0.5),
        ("logit", math.log(3), 0.75),
        ("logit", -1e308, 0.0),
        ("logit", 1e308, 1.0),
        ("logprob", math.log(0.25), 0.25),
        ("probability", 0.25, 0.25),
        ("grade", 4.0, 0.5),  # of 8
    ],
)
def test_scaled_scores(kind, score, expected):
    one = candidates(["a"], ["one"], [None])
    outcome = conclude(Ranking((0,), (score,), kind), one, top_k=1, scale_score=True, top_grade=8.0)
    assert outcome.lines == ((0, pytest.approx(expected)),)
    assert outcome.meta["score_scaled"]
    assert outcome.meta["score_kind"] == ("grade" if kind == "grade" else "probability")


def test_grades_of_an_unknown_scale_stay_as_they_are():
    ranking = Ranking((0, 1, 2), (7.0, 2.0, 1.0), "grade")
    outcome = conclude(ranking, THREE, top_k=None, scale_score=True, score_threshold=0.5)
    assert [score for _, score in outcome.lines] == [7.0, 2.0, 1.0]
    assert not outcome.meta["score_scaled"]
    assert not outcome.meta["score_threshold_applied"]
    assert "the scale of the grades is unknown" in outcome.warning


def test_similarities_have_a_threshold_and_a_scale_from_0_to_1():
    ranking = Ranking((0, 1, 2), (math.log(3), 0.0, -0.5), "similarity")
    assert len(conclude(ranking, THREE, top_k=None, score_threshold=0.0).lines) == 2
    outcome = conclude(ranking, THREE, top_k=None, score_threshold=0.5, scale_score=True)
    assert [score for _, score in outcome.lines] == pytest.approx([0.75, 0.5])
    assert outcome.meta["score_kind"] == "similarity"
    same = conclude(Ranking((0, 1, 2), (0.5, 0.5, 0.5), "similarity"), THREE, top_k=None)
    assert "the same score" in same.warning


def test_a_threshold_is_compared_with_the_model_s_own_scores():
    ranking = Ranking(
        (2, 0, 1),
        (1.0, 0.0, -1.0),
        "z-score",
        model_scores=(3.0, 5.0, -1.0),
        model_score_kind="logit",
    )
    outcome = conclude(ranking, THREE, top_k=None, score_threshold=4.0)
    assert outcome.lines == ((1, -1.0),)
    assert outcome.meta["score_threshold_applied"]
    without = conclude(
        Ranking((2, 0, 1), (1.0, 0.0, -1.0), "z-score"), THREE, top_k=None, score_threshold=4.0
    )
    assert len(without.lines) == 3
    assert "score_threshold is ignored, because such scores compare" in without.warning
