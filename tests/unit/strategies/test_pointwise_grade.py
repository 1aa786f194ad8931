"""Scores from grades: a grade that cannot be read is unknown, and unknown is never zero."""

import math

import pytest

from rerank_plugins import InputError, Reranker
from rerank_plugins.calls import Completion, LabelLogprobs
from rerank_plugins.plans import step
from rerank_plugins.prompts import PointwisePrompt
from rerank_plugins.ranking import Report
from rerank_plugins.strategies import PointwiseGrade
from rerank_plugins.testing import Scripted


def graded(*answers):
    return Reranker(PointwiseGrade(), Scripted(answers)).rank(
        "q", [f"p{i}" for i in range(len(answers))]
    )


def tokens(*pairs, finish="stop"):
    return Completion("".join(t for t, _ in pairs), finish, tuple(pairs))


def test_the_score_is_the_grade_times_the_probability_of_its_tokens():
    seven = tokens(("<answer>", 0.0), ("7", math.log(0.5)), ("</answer>", -1.0))
    ten = tokens(
        ("<answer>", -2.0), ("1", math.log(0.8)), ("0", math.log(0.5)), ("</answer>", -3.0)
    )
    ranking = graded(seven, ten)
    assert ranking.order == (1, 0)
    assert ranking.scores == pytest.approx((10 * 0.8 * 0.5, 7 * 0.5))
    assert ranking.score_kind == "grade"


def test_a_grade_off_the_scale_is_unknown_and_counted():
    ranking = graded("<answer>3</answer>", "<answer>11</answer>", "<answer>9</answer>")
    assert ranking.order == (2, 1, 0)  # the unknown one keeps its place
    assert ranking.report.invalid_grades == 1
    assert ranking.report.missing == {1}
    assert ranking.score_kind == "rank"  # numbers of places, where a score is unknown


def test_an_answer_cut_in_its_grade_is_unknown():
    ranking = graded(tokens(("<answer>", 0.0), ("1", 0.0), finish="length"), "<answer>2</answer>")
    assert ranking.report.cut_answers == 1
    assert ranking.report.missing == {0}


def test_a_grade_without_a_probability_is_unknown():
    ranking = graded(
        tokens(("<answer>", 0.0), ("9", math.nan), ("</answer>", 0.0)), "<answer>2</answer>"
    )
    assert ranking.report.invalid_grades == 1


def test_the_expectation_is_the_mean_over_the_digits():
    strategy = PointwiseGrade(prompt="grades.v1", expectation=True)
    logprobs = {str(d): -math.inf for d in range(10)} | {"2": math.log(0.3), "8": math.log(0.1)}
    ranking = Reranker(strategy, Scripted([LabelLogprobs(logprobs)])).rank("q", ["p"])
    assert ranking.scores == pytest.approx(((2 * 0.3 + 8 * 0.1) / 0.4,))
    assert ranking.usage.calls == 1


def test_the_expectation_reads_ten_over_two_tokens():
    first = LabelLogprobs(
        {str(d): -math.inf for d in range(10)} | {"1": math.log(0.6), "5": math.log(0.4)}
    )
    second = LabelLogprobs({"0": math.log(0.5)})
    script = [Completion("<think>?</think><answer>1</answer>"), first, second]
    ranking = Reranker(PointwiseGrade(expectation=True), Scripted(script)).rank("q", ["p"])
    assert ranking.scores == pytest.approx((1 * 0.3 + 10 * 0.3 + 5 * 0.4,))


UMBRELA = PointwiseGrade(prompt="umbrela.v1", weighted=False)


def test_a_judge_s_grade_is_the_integer_it_wrote():
    doubtful = tokens(("M: 3 ", 0.0), ("##final score: ", 0.0), ("2", math.log(0.5)))
    ranking = Reranker(UMBRELA, Scripted([doubtful, "3"])).rank("q", ["a", "b"])
    assert (ranking.order, ranking.scores) == ((1, 0), (3.0, 2.0))


def test_a_judge_asks_for_a_hundred_tokens_and_no_log_probabilities():
    ((call,),) = [step(UMBRELA.rank("q", ["a"]))]
    assert (call.max_tokens, call.logprobs) == (100, False)


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        ("I cannot say", {"malformed": 1}),
        ("##final score: 4", {"invalid_grades": 1}),
        (tokens(("##final score: 1", 0.0), finish="length"), {"malformed": 1, "cut_answers": 1}),
    ],
)
def test_what_a_judge_did_not_say_is_no_grade(answer, counted):
    ranking = Reranker(UMBRELA, Scripted([answer])).rank("q", ["a"])
    assert ranking.score_kind == "rank"
    assert ranking.report == Report(missing=frozenset({0}), **counted)


def test_refused_settings():
    with pytest.raises(InputError, match="begins with the grade"):
        PointwiseGrade(prompt="umbrela.v1", expectation=True)
    with pytest.raises(InputError, match="Use Pointwise"):
        PointwiseGrade(prompt="qwen3-reranker.v1")
    with pytest.raises(InputError, match="max_tokens is 0"):
        PointwiseGrade(max_tokens=0)
    scale = PointwisePrompt(user="{query} {passage}", top_grade=20)
    assert PointwiseGrade(prompt=scale)
    with pytest.raises(InputError, match="at most 19, and the prompt's is 20"):
        PointwiseGrade(prompt=scale, expectation=True)
