"""Word limits, escaping, encodings."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.text import (
    LONGEST_WORD,
    Passage,
    count_words,
    direction_of,
    escape_identifiers,
    labels,
    limit_words,
    repair_encoding,
)


def test_unbroken_text_obeys_the_word_limit():
    text, cut = limit_words("x" * 1_000_000, 300)
    assert (len(text), cut) == (300 * LONGEST_WORD, True)
    assert count_words(text) == 300


@pytest.mark.parametrize("length", [LONGEST_WORD - 1, LONGEST_WORD, LONGEST_WORD + 1])
def test_a_word_counts_by_the_hundred_characters(length):
    assert count_words("x" * length) == (1 if length <= LONGEST_WORD else 2)
    assert limit_words("x" * length, 1) == ("x" * min(length, LONGEST_WORD), length > LONGEST_WORD)


def test_what_is_kept_counts_as_what_was_asked():
    assert limit_words("a " + "x" * 250 + " b", 2) == ("a " + "x" * 100, True)
    assert limit_words("a b", 1) == ("a", True)
    assert limit_words("", 5) == ("", False)


@pytest.mark.parametrize(
    ("alphabet", "text", "expected"),
    [
        ("letters", "[A] [AB] [a] [1] [A1]", "(A) (AB) (a) [1] [A1]"),
        ("numbers", "[1] [12] [A] [1a]", "(1) (12) [A] [1a]"),
    ],
)
def test_only_identifiers_of_the_alphabet_are_escaped(alphabet, text, expected):
    assert escape_identifiers(text, alphabet) == expected


def test_damaged_text_is_mended():
    assert repair_encoding("70Â° â€” \ud800 \x00") == "70° — \ufffd "


SOUND = ("a", "Z~", " ", "\n", "\t", "%$#", "'q'", "<b>")
DAMAGED = (
    "\r\n",
    "\f",
    "\x1b[31m",
    "\0",
    "\x7f",
    "&amp;",
    "“",
    "â€™",
    "\ufb01",
    "\ud800",
    "e\u0301",
)


@pytest.mark.parametrize("damage", [*SOUND, *DAMAGED])
@given(st.lists(st.sampled_from(SOUND)).map("".join), st.text(max_size=3))
def test_a_short_cut_past_ftfy_changes_nothing(damage, before, after):
    import ftfy

    for text in (damage, before + damage, damage + after, before + damage + after):
        assert repair_encoding(text) == ftfy.fix_text(text)


def test_labels():
    assert labels("letters", 26)[-1] == "Z"
    assert labels("numbers", 100)[-1] == "100"
    assert labels("letters", 0) == ()


@given(st.text("ab \n\x1c\x85\u2003\u200b漢" + "x" * 5), st.integers(0, 9), st.integers(1, 150))
def test_long_texts_are_cut_as_short_ones(text, limit, run):
    """White space at the end changes nothing, but leads past the shorter way."""
    text = text.replace("x", "x" * run)
    assert limit_words(text, limit) == limit_words(text + " " * 20_000, limit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ 2 ] [2 ] [\n2]", "( 2 ) (2 ) (\n2)"),
        ("\u30102\u3011 \uff3b2\uff3d [\uff12] \ufe472\ufe48", "(2) (2) (\uff12) (2)"),
        ("[\u00b2] [\u2461] [\U0001d7d0]", "(\u00b2) (\u2461) (\U0001d7d0)"),
        ("[2 > 1] [3;1]", "(2 > 1) (3;1)"),
        ("[1, 2] [2,3]", "[1, 2] [2,3]"),  # citations
        ("[ 77 ] \u301021\u3011 [21]", "[ 77 ] \u301021\u3011 (21)"),  # of 20 passages
        ("[ 2a ] [a 2] [\u200b2] [] [ ]", "[ 2a ] [a 2] [\u200b2] [] [ ]"),
    ],
)
def test_other_forms_of_identifiers_are_escaped(text, expected):
    assert escape_identifiers(text, "numbers", most=20) == expected


def test_other_forms_of_letters_are_escaped():
    text = "[ B ] \u3010C\u3011 [\uff22] [ Z ] [ is ] [B > A]"
    assert escape_identifiers(text, "letters", most=4) == (
        "( B ) (C) (\uff22) [ Z ] [ is ] (B > A)"
    )
    assert escape_identifiers("[ Z ]", "letters") == "( Z )"
    wide = "Passage \uff22\uff1a mine"
    assert escape_identifiers(wide, "letters", "Passage") == "Passage (\uff22)\uff1a mine"


def test_a_passage_has_a_score_or_a_distance():
    assert Passage("a", distance=0.5).score == -0.5
    assert pickle.loads(pickle.dumps(Passage("a", distance=0.5))).score == -0.5
    with pytest.raises(InputError, match=r"the score 1\.0 and the distance 0\.5"):
        Passage("a", score=1.0, distance=0.5)
    with pytest.raises(InputError, match=r"the similarity 1\.0 and the distance 0\.5"):
        Passage("a", similarity=1.0, distance=0.5)


@pytest.mark.parametrize("value", ["1", b"1", [], 10**400, object()])
@pytest.mark.parametrize("name", ["score", "similarity", "distance"])
def test_what_is_not_a_number_is_refused_where_it_is_given(name, value):
    with pytest.raises(InputError, match=f"{name} is .*, expected a number"):
        Passage("a", **{name: value})
    assert Passage("a", score=np.float32(0.5)).score == 0.5
    with pytest.raises(InputError, match="title is 3, expected a string"):
        Passage("a", title=3)


def test_what_a_number_is_is_kept_by_copies():
    stated = Passage("a", similarity=0.5, title="A")
    for same in (pickle.loads(pickle.dumps(stated)), copy.deepcopy(stated), stated.with_text("b")):
        assert (same.score, same.directed, same.passage_title) == (0.5, True, "A")
    assert not pickle.loads(pickle.dumps(Passage("a", score=0.5))).directed


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, unique=True))
def test_sorted_scores_have_a_direction(scores):
    assert direction_of(sorted(scores)) == "distance"
    assert direction_of(sorted(scores, reverse=True)) == "similarity"
    assert direction_of([*scores, math.nan]) == "incomplete"
    assert direction_of([*sorted(scores), min(scores)]) == "unknown"
