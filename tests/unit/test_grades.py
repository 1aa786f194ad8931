"""Grades from text: repaired where that is safe, else unknown, and unknown is never zero."""

import math

import pytest

from rerank_plugins import LogprobsError, ModelOutputError, Reranker
from rerank_plugins.calls import Completion, LabelLogprobs
from rerank_plugins.parsing import Grades, parse_grade, parse_grades
from rerank_plugins.strategies import Groupwise, PointwiseGrade, Setwise
from rerank_plugins.testing import Scripted


def answer(text):
    return f"<reason>because</reason>\n<answer>\n{text}\n</answer>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('```json\n{"[1]": 5, "[2]": 3}\n```', Grades({0: 5, 1: 3})),
        ('{"1": 5, "2.": 3}', Grades({0: 5, 1: 3})),
        ('{"[[1]]": 5, "[2]": "3"}', Grades({0: 5, 1: 3})),
        ('{"[1]": 5.0, "[2]": 3}', Grades({0: 5, 1: 3})),
        ('{"[1]": 0, "[2]": 10}', Grades({0: 0, 1: 10})),
        ('{"[1]": 5}', Grades({0: 5})),  # a missing key
        ('{"[1]": 5, "[3]": 9, "x": 1}', Grades({0: 5}, out_of_range=2)),
        ('{"[0]": 9, "[1]": 5}', Grades({0: 5}, out_of_range=1)),  # never the last document
        ('{"[1]": 5, "[1]": 9, "[2]": 1}', Grades({0: 5, 1: 1}, duplicates=1)),
        ('{"[1]": 11, "[2]": -1}', Grades({}, invalid=2)),
        ('{"[1]": 11, "[1]": 5}', Grades({}, duplicates=1, invalid=1)),  # no second chance
        ('{"[1]": 4.5, "[2]": NaN}', Grades({}, invalid=2)),
        ('{"[1]": true, "[2]": null}', Grades({}, invalid=2)),
        ('{"[1]": 1e400, "[2]": [3]}', Grades({}, invalid=2)),
        ('{"[1]": 5, "[2]": 3,}', Grades({0: 5, 1: 3})),  # damaged JSON
        ('{"[1]: 5, "[2]": 3}', Grades({0: 5, 1: 3})),
        ("{1: 5, 2: 3}", Grades({0: 5, 1: 3})),
        ('{"[1]": 1}\n{"[1]": 7, "[2]": 3}', Grades({0: 7, 1: 3})),  # the last block counts
        ("no numbers at all", Grades({})),
        ("[1] is the best, [2] a 3", Grades({})),
    ],
)
def test_json_grades(text, expected):
    assert parse_grades(answer(text), 2) == expected


def test_an_answer_cut_in_a_number_leaves_that_grade_unknown():
    assert parse_grades('<answer>{"[1]": 5, "[2]": 1', 2) == Grades({0: 5})


def test_text_after_the_answer_does_not_count():
    assert parse_grades(answer('{"[1]": 5}') + ' or rather {"[1]": 9}', 1) == Grades({0: 5})


def test_grades_in_the_reasoning_do_not_count():
    assert parse_grades('<reason>{"[1]": 5}</reason>', 1) == Grades({})
    assert parse_grades('<reason>{"[1]": 5} and then', 1) == Grades({})


def test_hostile_nesting_costs_no_time():
    assert parse_grades(answer('{"a":' * 50_000), 2).by_position == {}
    assert (
        parse_grades(answer("[" * 100_000 + '{"[1]": ' + "[" * 50_000 + "}"), 2).by_position == {}
    )


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("<think>3 or 4</think><answer>7</answer>", 7),
        ("<think>3</think>\n<answer> **10** </answer>", 10),
        ("<answer>[6]</answer>", 6),
        ("<answer>8/10</answer>", 8),
        ("<answer>7.5</answer>", None),
        ("<answer>-3</answer>", None),
        ("<answer>80%</answer>", None),
        ("<answer>seven</answer>", None),
        ("<answer></answer>", None),
        ("the score is 7", None),
        ("<think>a 7 then", None),
    ],
)
def test_one_grade(text, grade):
    found = parse_grade(text, reasoning=True)
    assert (found and found[0]) == grade
    if found:
        assert text[found[1] : found[2]] == str(grade)


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


def test_a_failed_group_is_missing_and_not_zero():
    """Groups of two without overlap: where the answer is rubbish, passages keep their places."""
    strategy = Groupwise(size=2, interval=2, weight=1.0)
    good = answer('{"[1]": 3, "[2]": 9}')
    ranking = Reranker(strategy, Scripted([good, "I cannot say"])).rank("q", list("abcd"))
    first, second = strategy.groups(4)
    assert ranking.report.malformed == 1
    assert ranking.report.missing == set(second)
    for place in second:
        assert ranking.order[place] == place
    known = [i for i in ranking.order if i in first]
    assert known == [first[1], first[0]]


def test_grades_are_averaged_over_the_groups_that_gave_one():
    strategy = Groupwise(size=3, interval=3, repeats=2, weight=1.0)
    one, two = strategy.groups(3)
    scripts = []
    for group, grades in ((one, {0: 4, 1: 6, 2: 8}), (two, {0: 8, 1: 2})):  # 2 is missing there
        keys = ", ".join(
            f'"[{place + 1}]": {grades[i]}' for place, i in enumerate(group) if i in grades
        )
        scripts.append(answer("{" + keys + "}"))
    ranking = Reranker(strategy, Scripted(scripts)).rank("q", list("abc"))
    assert dict(zip(ranking.order, ranking.scores, strict=True)) == pytest.approx(
        {2: 0.8, 0: 0.6, 1: 0.4}
    )


def test_the_blend_uses_places_and_not_scores():
    ranking = Reranker(
        Groupwise(size=2, interval=2), Scripted([answer('{"[1]": 5, "[2]": 5}')])
    ).rank("q", ["a", "b"])
    assert ranking.order == (0, 1)  # equal grades: the retriever decides
    assert ranking.scores == pytest.approx((0.6 * 0.5 + 0.4, 0.6 * 0.5 + 0.2))


def test_a_reasoned_choice_is_never_read_from_the_reasoning():
    strategy = Setwise(prompt="rank-r1.v1", answer="written", others=2, top_m=1)
    script = ["<think>surely [2]", "<think>[1]?</think><answer>[3]</answer>"]
    for text, first, malformed in zip(script, (0, 2), (1, 0), strict=True):
        ranking = Reranker(strategy, Scripted([text])).rank("q", ["a", "b", "c"])
        assert ranking.order[0] == first
        assert ranking.report.malformed == malformed


@pytest.mark.parametrize("seen", [{}, {"yes": math.nan, "no": -1.0}])
def test_no_log_probabilities_are_a_failure_of_the_call(seen):
    from rerank_plugins.strategies import Pointwise

    with pytest.raises(ModelOutputError if seen else LogprobsError):
        Reranker(Pointwise(), Scripted([LabelLogprobs(seen)])).rank("q", ["p"])
