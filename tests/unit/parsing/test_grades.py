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


@pytest.mark.parametrize(
    "text",
    [
        '{"[1]": 5, "[2]": 3}, where {"[1]": 9} was a draft',
        '{"[1]": 9}, no: {"[1]": 5, "[2]": 3} as {said}',
        '{"[1]": 5, "[2]": 3}\n{}',
        '```json\n{"[1]": 5, "[2]": 3}\n```\n```json\n{"note": "ok"}\n```',
        '{"[ 1 ]": 5, "[ 2 ]": 3}',
        '{"\u30101\u3011": 5, "\uff3b\uff12\uff3d": "\uff13"}',
        "{[ 1 ]: 5, [ 2 ]: 3}",
    ],
)
def test_the_object_that_grades_most_passages_counts(text):
    assert parse_grades(text, 2, reasoning=False).by_position == {0: 5, 1: 3}


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Grade: 7", 7),
        ("**Grade:** 7", 7),
        ("Score: 7/10", 7),
        ("The relevance score is 7.", 7),
        (r"$\boxed{7}$", 7),
        (r"It is on topic, so \boxed{7}.", 7),
        (r"Not \boxed{7}: \boxed{8}", None),
        ('```json\n{"grade": 7}\n```', 7),
        ("\u3010\uff17\u3011", 7),
        ("7 out of 10", 7),
        ("Grade: 7.5", None),
        ("Grade: -1", None),
        ("7 or 8", None),
        ("7-8", None),
        ("7\u20138", None),
        ("7, 8", None),
        ("[7] > [1] > [3]", None),
        ("[7], [1]", None),
        ("7 > 1", None),
        ("0x7", None),
        ("7e3", None),
        ("Grades are from 0 to 10", None),
        ("Passage 3: 7", None),
        ("The passage is a 7", None),
        ("Grade 70%", None),
        ('{"[1]": 7}', None),
        ('{"7": "very relevant"}', None),
        ("7: it is on topic", 7),
    ],
)
def test_a_grade_has_a_title_and_is_one_number(text, grade):
    found = parse_grade(text)
    assert (found and found[0]) == grade
    if found:
        assert int(text[found[1] : found[2]]) == grade


@pytest.mark.parametrize(
    "keys",
    [
        "passage 1|passage 2",
        "Passage [1]|PASSAGE [2]",
        "doc1|doc2",
        "document_1|document_2",
        "text #1|text #2",
        "id1|2",
    ],
)
@pytest.mark.parametrize("form", ['{{"{}": 5, "{}": 3}}', "{{'{}': 5, '{}': 3,}}"])
def test_a_word_may_stand_before_a_number(keys, form):
    text = form.format(*keys.split("|"))
    assert parse_grades(text, 2, reasoning=False) == Grades({0: 5, 1: 3})
    assert parse_grades('{"top 1": 5, "number of passages 2": 3}', 2, reasoning=False) == Grades(
        {}, out_of_range=2
    )


REASONS = [
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "[THINK]{}[/THINK]",
    "<Thinking>{}</Thinking>",
    "\u25c1think\u25b7{}\u25c1/think\u25b7",
    "{}</seed:think>",
]


@pytest.mark.parametrize("reason", REASONS)
def test_grades_stand_after_the_reasoning_of_every_family(reason):
    thought = reason.format('9? {"[1]": 9, "[2]": 9}')
    grades = parse_grades(thought + '{"[1]": 5, "[2]": 3}', 2, reasoning=False)
    assert grades == Grades({0: 5, 1: 3})
    text = thought + " 7"
    found = parse_grade(text)
    assert found == (7, len(text) - 1, len(text))
    text = thought + "<Answer> 10</Answer>"
    assert parse_grade(text, reasoning=True) == (10, text.index("10"), text.index("10") + 2)
    assert parse_grade(thought.partition("9?")[0] + "<think>7") is None


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("##final score: 2", 2),
        ("M: 1\nT: 3\n## Final Score: 2", 2),
        ("**FINAL SCORE:** 3", 3),
        ("final score: 1, no, final score: 2", 2),
        ("##final score: score", None),
        ("##final score: 2.5", None),
        ("the final score: is 2", None),
        ("2", 2),
        ("the passage is 2", None),
        ("<think>final score: 1</think>3", 3),
        ("<think>final score: 1</think>\u0130 final score: 2", 2),
        ("", None),
    ],
)
def test_a_grade_after_a_text(text, grade):
    found = parse_grade(text, before="final score:")
    assert (found and found[0]) == grade
    if found:
        assert text[found[1] : found[2]] == str(grade)
