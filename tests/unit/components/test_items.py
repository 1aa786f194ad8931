"""Items as candidates, and rankings as results."""

import math

import numpy as np
import pytest

from rerank_plugins import InputError, Passage, Ranking, Report
from rerank_plugins.components import candidates, check_threshold, check_top_k, conclude

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
