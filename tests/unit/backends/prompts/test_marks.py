"""Marks of chat templates, found in what the template writes around messages."""

import re

import pytest

from rerank_plugins.backends._prompts.marks import Mark, find_marks

CONTROL = re.compile(r"</?s>|<\|im_\w+\|>")


@pytest.mark.parametrize(
    ("pieces", "marks"),
    [
        (["<s>[INST] ", " [/INST]"], [Mark("[/INST]"), Mark("[INST]")]),
        (["USER: ", " ASSISTANT:"], [Mark("ASSISTANT:"), Mark("USER:")]),
        (["BOTTURN"], [Mark("BOTTURN")]),
        (["user\n"], [Mark("user", line=True)]),
        (["<|im_start|>user\n", "<|im_end|>"], []),  # a word beside a control token
        (["", " \n", "</s>"], []),
    ],
)
def test_marks_longest_first(pieces, marks):
    assert find_marks(pieces, CONTROL) == marks


def test_a_line_is_a_mark_only_as_a_whole():
    expression = re.compile(Mark("user", line=True).expression(), re.MULTILINE)
    assert expression.search("a flea\n  user \nlives")
    assert not expression.search("a user lives")


def test_other_marks_match_anywhere_and_literally():
    expression = re.compile(Mark("[INST]").expression())
    assert expression.search("a flea[INST]lives")
    assert not expression.search("INST")
