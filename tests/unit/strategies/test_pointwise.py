"""Log-odds of two words."""

import math

import pytest

from rerank_plugins import InputError, LogprobsError, ModelOutputError, Reranker
from rerank_plugins.calls import LabelLogprobs, NextToken
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
