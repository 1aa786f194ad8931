"""Content of messages, and where a model's answer starts after its reasoning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins._content import answer_span, answer_text, content_text

THOUGHT = "[1] is about cats, so [1] > [2]."
ANSWER = "[3] > [2] > [1]"
TAGS = [
    *("think", "thinking", "reason", "reasoning", "thought", "thoughts", "seed:think"),
    *("antThinking", "scratchpad", "reflection", "rationale", "longcat_think", "think_fast"),
]
PAIRS = {
    **{f"<{tag}>": (f"<{tag}>", f"</{tag}>") for tag in TAGS},
    "an attribute": ('<think type="deep">', "</think>"),
    "white space": ("< think >", "</ think >"),
    "full-width": ("\uff1cthink\uff1e", "\uff1c/think\uff1e"),
    "Kimi": ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "gpt-oss": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss, JSON": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "gpt-oss, twice": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
        "<|channel|>commentary<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss without special tokens": ("analysis", "assistantfinal"),
    "Command A": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "Sky-T1": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "Gemma": ("<|channel>thought\n", "<channel|>"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "Granite": ("Here is my thought process:\n", "Here is my response:"),
}
pairs = pytest.mark.parametrize(("opening", "closing"), PAIRS.values(), ids=PAIRS)


@pairs
def test_what_follows_the_reasoning_is_the_answer(opening, closing):
    for change in (str, str.upper, str.lower):
        if change is str or "assistant" not in closing:  # special tokens have one spelling
            text = change(opening) + THOUGHT + change(closing)
            assert answer_text(text + ANSWER) == ANSWER
            assert answer_text(text + text + ANSWER) == ANSWER
            assert answer_text("\n" + change(opening).strip("\n") + "\n" + text + ANSWER) == ANSWER


@pairs
def test_reasoning_without_an_end_has_no_answer(opening, closing):
    assert answer_text(opening + THOUGHT) == ""
    again = "assistantanalysis" if opening == "analysis" else opening
    assert answer_text(opening + THOUGHT + closing + again + THOUGHT) == ""


@pairs
def test_reasoning_that_the_template_opened_has_an_end(opening, closing):
    assert answer_text(THOUGHT + closing + ANSWER) == ANSWER


@pairs
def test_an_answer_in_tags(opening, closing):
    tagged = f"{opening}{THOUGHT} <answer>[1]</answer>{closing}"
    for tag in ("answer", "Answer", "ANSWER"):
        whole = f"{tagged}<{tag}>{ANSWER}</{tag}> as I said: [1]"
        assert answer_text(whole, reasoning=True) == answer_text(whole) == ANSWER
        # Never closed, but it ends with a complete answer.
        assert answer_text(f"{opening}{THOUGHT}<{tag}>{ANSWER}</{tag}>\n") == ANSWER
    assert answer_text(tagged + ANSWER, reasoning=True) == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>the tag <reason> is asked for</think>[2]", "[2]"),
        ("the tag <reason> is asked for</think>[2]", "[2]"),
        ("<thinking>they wrote <think>[1]</think> and [1] > [2]", ""),
        ("<think>a</think><think>[1] > [2]", ""),
        ("<think>[1] > [2]</answer>", ""),  # an end without a beginning
        ("<|channel|>final<|message|>[2]<|return|>", "[2]"),
        ("<|channel|>final<|message|>[2]<|end|><|start|>user", "[2]"),
        ("The analysis of [1]: [2] > [1]", "The analysis of [1]: [2] > [1]"),
        ("analysis: [2] > [1]", "analysis: [2] > [1]"),
        ("[note] [2] > [1]", "[note] [2] > [1]"),
        ("<b>[2]</b> > [1]", "<b>[2]</b> > [1]"),
    ],
)
def test_marks_and_what_looks_like_them(text, answer):
    assert answer_text(text) == answer


@given(st.lists(st.sampled_from([*sum(PAIRS.values(), ()), "<answer>", "</answer>", "[1]", "\n"])))
def test_an_answer_is_a_part_of_the_text_after_the_last_mark(parts):
    text = "".join(parts)
    for reasoning in (False, True):
        start, stop = answer_span(text, reasoning=reasoning)
        assert 0 <= start <= stop <= len(text)
        answer = answer_text(text, reasoning=reasoning)
        assert answer == text[start:stop]
        assert "</think>" not in answer
        assert "[THINK]" not in answer or "<answer>" in text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        ("", ""),
        ([], ""),
        ([{"type": "text", "text": "[2] >"}, {"type": "text", "text": " [1]"}], "[2] > [1]"),
        ([{"type": "output_text", "text": "[2]", "annotations": []}], "[2]"),
        ([{"text": "[2]"}, "> [1]"], "[2]> [1]"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "[1]"}]}, "[2]"], "[2]"),
        ([{"type": "reasoning", "text": "[1]"}, {"type": "text", "text": "[2]"}], "[2]"),
        ([{"type": "image_url", "image_url": {"url": "data:"}}], ""),
        ([{"type": "text", "text": None}, {"type": ["text"], "text": "a"}], ""),
        (None, None),
        (7, None),
        ([7], None),
        ({"type": "text", "text": "a"}, None),
    ],
)
def test_content_as_text_and_as_parts(content, text):
    assert content_text(content) == text
