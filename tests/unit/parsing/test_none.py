"""Answers that say that no passage is relevant, and those that do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.parsing import parse_permutation, says_none


@pytest.mark.parametrize(
    "answer",
    [
        "none",
        "None.",
        "**NONE**",
        "[]",
        "[ ]",
        "`[]`",
        "[none]",
        '["none"]',
        '{"ranking": []}',
        "Final ranking: []",
        "Answer: none",
        "N/A",
        "Nothing",
        "None of the passages is relevant.",
        "None of these 20 documents are relevant to the search query.",
        "None of the provided passages answers the user's question.",
        "No relevant passages.",
        "No relevant passages were found.",
        "No passage is relevant to the query!",
        "<think>[2] is off topic, [1] too</think>\n\nNone of them is relevant",
    ],
)
def test_none_is_said(answer):
    assert says_none(answer, 20)
    assert not parse_permutation(answer, 20).positions


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        ".",
        "no idea",
        "No.",
        "None of the passages is irrelevant.",
        "None of the passages is not relevant.",
        "None of the passages is relevant but [3]",
        "None of the passages is relevant except 3",
        "No passage is off topic: 3 > 1 > 2",
        "Not all passages are relevant.",
        "none [3]",
        "[] > []",
        "[][]",
        "[0]",
        "The query mentions none of the passages",
        "None of the 19 passages is relevant.",  # 20 were shown
        "<think>None of the passages is relevant.",
        "<think>none</think>",
        "none " * 50,
    ],
)
def test_none_is_not_said(answer):
    assert not says_none(answer, 20)


def test_reasoning_is_not_the_answer():
    assert says_none("[1]? <answer>none</answer>", 3, reasoning=True)
    assert not says_none("none", 3, reasoning=True)
    assert not says_none("none is relevant <answer>[1]</answer>", 3, reasoning=True)


@given(st.text("[]noneNo1 >.,\n<think/answr", max_size=60))
def test_an_order_is_never_taken_for_none(answer):
    if parse_permutation(answer, 5).positions:
        assert not says_none(answer, 5)
