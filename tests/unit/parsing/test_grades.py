"""Grades from text: repaired where that is safe, else unknown."""

import pytest

from rerank_plugins.parsing import Grades, parse_grade, parse_grades


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
