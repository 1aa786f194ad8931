"""Log-odds of two words."""

import math

import pytest

from rerank_plugins import (
    InputError,
    LogprobsError,
    ModelOutputError,
    Reranker,
    UnsupportedCallError,
)
from rerank_plugins.calls import Completion, LabelLogprobs, NextToken
from rerank_plugins.strategies import Pointwise
from rerank_plugins.testing import Scripted


@pytest.mark.parametrize("seen", [{}, {"yes": math.nan, "no": -1.0}])
def test_no_log_probabilities_are_a_failure_of_the_call(seen):
    with pytest.raises(ModelOutputError if seen else LogprobsError):
        Reranker(Pointwise(), Scripted([LabelLogprobs(seen)])).rank("q", ["p"])


def test_the_score_is_the_log_odds():
    answers = [{"yes": -2.0, "no": -0.5}, {"yes": -0.1, "no": -3.0}]
    model = Scripted(map(LabelLogprobs, answers))
    ranking = Reranker(Pointwise(), model).rank("q", ["a", "b"])
    assert ranking.order == (1, 0)
    assert ranking.scores == pytest.approx((2.9, -1.5))
    assert ranking.score_kind == "logit"
    assert (ranking.usage.calls, ranking.usage.batches) == (2, 1)
    assert all(isinstance(call, NextToken) for call in model.asked)


def test_a_word_that_was_not_reported_is_at_the_floor_and_counted():
    model = Scripted([LabelLogprobs({"yes": -0.1}, floor=-4.0)])
    ranking = Reranker(Pointwise(), model).rank("q", ["a"])
    assert ranking.scores == pytest.approx((3.9,))
    assert ranking.report.unseen_labels == 1


def test_the_instruction_replaces_the_prompts_own():
    model = Scripted([LabelLogprobs({"yes": -0.1, "no": -3.0})])
    Reranker(Pointwise(instruction="Find code."), model).rank("q", ["a"])
    assert "<Instruct>: Find code." in model.asked[0].prompt.text


def test_a_prompt_for_grades_is_refused():
    with pytest.raises(InputError, match="Use PointwiseGrade"):
        Pointwise(prompt="erank.v1")


def test_one_label_is_scored_by_its_raw_logit():
    answers = [
        LabelLogprobs({"Yes": -2.0}, normaliser=9.0),
        LabelLogprobs({"Yes": -1.0}, normaliser=3.5),
    ]
    ranking = Reranker(Pointwise(prompt="zerank.v1"), Scripted(answers)).rank("q", ["a", "b"])
    assert (ranking.order, ranking.scores, ranking.score_kind) == ((0, 1), (7.0, 2.5), "logit")


@pytest.mark.parametrize("on_error", ["raise", "keep_order"])
def test_a_backend_without_raw_logits_is_refused(on_error):
    model = Scripted([LabelLogprobs({"Yes": -2.0})] * 2)
    with pytest.raises(UnsupportedCallError, match=r"raw logit of one token.*TransformersBackend"):
        Reranker(Pointwise(prompt="zerank.v1"), model, on_error=on_error).rank("q", ["a", "b"])


REASONED = [
    (Completion("It fits."), "<think>It fits.</think>"),
    (Completion("It fits.</think> true"), "<think>It fits.</think>"),
    (Completion("It fits. And th", "length"), "<think>\nIt fits.\n</think>"),
    (Completion("It fits and th", "length"), "<think>\nIt fits and th\n</think>"),
]


@pytest.mark.parametrize(("written", "prefill"), REASONED)
def test_labels_follow_a_reasoning_and_its_end(written, prefill):
    model = Scripted([written, LabelLogprobs({" true": -0.5, " false": -2.0})])
    ranking = Reranker(Pointwise(prompt="rank1.v1", max_tokens=9), model).rank("q", ["a"])
    first, second = model.asked
    assert (first.max_tokens, first.stop) == (9, ("</think>",))
    assert second.prompt.prefill == prefill
    assert ranking.scores == pytest.approx((1.5,))
    assert ranking.report.cut_answers == int(written.finish_reason == "length")


def test_the_longest_reasoning_is_positive():
    with pytest.raises(InputError, match="max_tokens is 0"):
        Pointwise(prompt="rank1.v1", max_tokens=0)
