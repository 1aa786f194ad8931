"""The parser against what real models wrote."""

import pytest

from rerank_plugins.parsing import answer_text, parse_permutation


def positions(text: str, n: int = 20, alphabet="numbers") -> tuple[int, ...]:
    return parse_permutation(text, n, alphabet).positions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[2] > [3] > [1]", (1, 2, 0)),
        ("\n[4] > [6] > [13]", (3, 5, 12)),
        ("12] > [13] > [6]", (11, 12, 5)),
        ("611 > [11] > [2]", (10, 1)),
        ("100% of the passages should be included. [11] > [3]", (10, 2)),
        ("1. [1] > [2] 2. [1] > [3]", (0, 1, 2)),
        ("1. [14] > 2. [19] > 3. [2]", (13, 18, 1)),
        ("[3, 1, 2]", (2, 0, 1)),
        ("[3 > 1 > 2]", (2, 0, 1)),
        ("3 > 1 > 2", (2, 0, 1)),
        ("3, 1, 2.", (2, 0, 1)),
        ("3\n1\n2", (2, 0, 1)),
        ("[ 3 ] > [ 1 ]", (2, 0)),
        ("[\uff13] > [\u0661] > [2]", (2, 1)),  # full-width 3; an Arabic 1 has no ASCII form
        ("The order is [2] > [1], since [2] names the year.", (1, 0)),
        ("[1] > [2] > [1", (0, 1)),
        ("[1] > 3] > [2]", (0, 2, 1)),
        ("[see 7] [2]", (1,)),
        # Unusable: nothing that is clearly an identifier.
        ("[] > [] > []", ()),
        ("20 passages have been provided.", ()),
        ("10 passages will be listed.", ()),
        ("1. Fleas live 2 years", ()),
        ("7", ()),
        ("", ()),
        ("\U0001f600 \U0001f600", ()),
    ],
)
def test_numbers(text, expected):
    assert positions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[B] > [A] > [C]", (1, 0, 2)),
        ("B] > [A]", (1, 0)),
        ("B > A > C", (1, 0, 2)),
        ("[b] > [A]", (0,)),
        ("[AB] > [C]", (2,)),
        ("A dog is B", ()),
        ("[1] > [2]", ()),
    ],
)
def test_letters(text, expected):
    assert positions(text, 20, "letters") == expected


def test_what_was_wrong_is_counted():
    parsed = parse_permutation("[2] > [2] > [0] > [21] > [1] > [1]", 20)
    assert (parsed.positions, parsed.duplicates, parsed.out_of_range) == ((1, 0), 2, 2)


def test_what_was_left_out_follows_in_the_input_order():
    assert parse_permutation("[3]", 4).completed(4) == (2, 0, 1, 3)


def test_a_number_too_long_to_be_one_is_out_of_range():
    assert parse_permutation(f"[{'9' * 5000}] > [1]", 3).positions == (0,)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>[1] is fine</think> [2] > [1]", " [2] > [1]"),
        ("<think>a</think>b</think>[2]", "[2]"),
        ("no tag: [1]</think>[2]", "[2]"),
        ("<think>[1] > [2] was cut o", ""),
        ("[2] > [1]", "[2] > [1]"),
        ("", ""),
    ],
)
def test_reasoning_is_never_mined(text, answer):
    assert answer_text(text) == answer
