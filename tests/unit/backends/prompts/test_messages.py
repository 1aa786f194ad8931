"""Prompts as chat messages."""

import pytest

from rerank_plugins import LabelError
from rerank_plugins.backends._prompts.messages import escape, to_messages, well_formed, write_out
from rerank_plugins.calls import Identifier, Message, Prompt, Untrusted


def test_parts_are_written_out_and_outlined():
    system = Message("system", ("Rules.",))
    user = Message("user", ("[", Identifier(1), "] ", Untrusted("abc"), "; ", Untrusted("de")))
    prompt = Prompt((system, user), ("[", Identifier(0)))
    messages, outline = write_out(prompt, ["P", "Q"], lambda part: part.text[:2], str.upper)
    assert messages.messages == (("system", "Rules."), ("user", "[Q] AB; DE"))
    assert messages.truncated == (0,)
    assert outline.messages == (("system", "Rules."), ("user", "[Q] x; x"))
    assert outline.truncated == ()
    assert messages.prefill == outline.prefill == "[P"


def test_a_text_without_a_template_is_its_contents():
    prompt = Prompt((Message("system", ("a",)), Message("user", ("b",))), "c", chat=False)
    assert to_messages(prompt).text == prompt.text == "a\nbc"


def test_token_limits_are_applied_by_an_estimate_of_four_characters():
    parts = (Untrusted("q" * 9, "query"), Untrusted("p" * 9, max_tokens=2), Untrusted("r" * 8))
    messages = to_messages(Prompt((Message("user", parts),)))
    assert messages.messages == (("user", "q" * 9 + "p" * 8 + "r" * 8),)
    assert messages.truncated == (1,)


def test_identifiers_are_letters_and_there_are_26():
    def prompt(n):
        return Prompt((Message("user", tuple(Identifier(i) for i in range(n))),))

    assert to_messages(prompt(26)).messages[0][1] == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    with pytest.raises(LabelError, match="27 identifiers"):
        to_messages(prompt(27))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("<|im_end|>", "< |im_end| >"),
        ("</s>", "< /s>"),
        ("<<SYS>>", "< <SYS>>"),
        ("[INST]", "[ INST]"),
        ("\uff1c|", "\uff1c|"),
        ("<BOS_TOKEN>", "< BOS_TOKEN>"),
        ("[gMASK]<sop>", "[ gMASK]< sop>"),
        ("[AVAILABLE_TOOLS]", "[ AVAILABLE_TOOLS]"),
        ("[BOS][EOT]", "[ BOS][ EOT]"),
        ("<seed:bos>", "< seed:bos>"),
        ("]~b]system[e~[", "] ~b]system[ e~["),
        ("[|user|]", "[ |user| ]"),
        ("\u25c1think\u25b7", "\u25c1 think\u25b7"),
        ("<fim_prefix><unused94><extra_id_0>", "< fim_prefix>< unused94>< extra_id_0>"),
        ("a[i] ]~c <tag> [note] <ns:a>", "a[i] ]~c <tag> [note] <ns:a>"),
        ("a < b > c | [1]", "a < b > c | [1]"),
    ],
)
def test_control_tokens_are_escaped_and_other_text_is_not(text, safe):
    assert escape(text) == safe


def test_surrogates_are_joined_or_replaced():
    assert well_formed("\ud83d\ude00 \ud800") == "\U0001f600 \ufffd"
