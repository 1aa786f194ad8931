"""Log-probabilities of identifiers, reported or not."""

import math

import pytest

from rerank_plugins import InputError, LogprobsError, ModelOutputError, Report
from rerank_plugins.calls import LabelLogprobs, Reply
from rerank_plugins.plans import run
from rerank_plugins.prompts import load_prompt
from rerank_plugins.strategies._labels import (
    LOWEST_LOGPROB,
    ask_labels,
    check_identifiers,
    label_scores,
    unseen_labels,
)


def test_unreported_labels_are_at_the_floor():
    answer = LabelLogprobs({"A": -1.0, "C": -2.0, "Z": -0.5}, floor=-3.0)
    assert label_scores(answer, "ABC") == [-1.0, -3.0, -2.0]
    assert unseen_labels(answer, "ABC") == 1


def test_a_probability_of_zero_has_a_finite_score():
    assert label_scores(LabelLogprobs({"A": 0.0}), "AB") == [0.0, LOWEST_LOGPROB]
    assert label_scores(LabelLogprobs({"A": -math.inf}), "A") == [LOWEST_LOGPROB]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (LabelLogprobs({}, floor=-1.0), LogprobsError),
        (LabelLogprobs({"Z": -1.0}, floor=-1.0), LogprobsError),
        (LabelLogprobs({"A": math.nan, "B": -1.0}), ModelOutputError),
    ],
)
def test_answers_without_scores_are_failures_of_the_call(answer, error):
    with pytest.raises(error):
        label_scores(answer, "AB")


@pytest.mark.parametrize(
    ("prompt", "most"), [("first.v1", 26), ("rankzephyr.v1", 9), ("full-list-tokens.v1", None)]
)
def test_identifiers_of_one_token(prompt, most):
    template = load_prompt(prompt)
    check_identifiers(template, most or 1000)
    if most:
        with pytest.raises(InputError, match=f"{most + 1} passages .* {most} identifiers"):
            check_identifiers(template, most + 1)


def test_a_window_is_asked_for_its_identifiers():
    asked = []

    def handle(calls):
        asked.extend(calls)
        return [Reply(LabelLogprobs({"B": -0.5}, floor=-2.0)) for _ in calls]

    passages = ["a", "word " * 301]
    scores, report = run(ask_labels(load_prompt("first.v1"), "q", passages), handle)
    assert scores == [-2.0, -0.5]
    assert report == Report(unseen_labels=1, truncated=frozenset({1}))
    assert [call.labels for call in asked] == [("A", "B")]
