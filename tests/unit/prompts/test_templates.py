"""Passages in the form of a checkpoint, and templates whose values are never templates."""

import pytest

from rerank_plugins import ConfigurationError, InputError, Passage
from rerank_plugins.calls import Message, Prompt, Untrusted
from rerank_plugins.prompts import (
    LikelihoodPrompt,
    ListwisePrompt,
    PassageForm,
    chat,
    fill,
    load_prompt,
)


def test_an_empty_title_leaves_no_trace():
    prompt, _ = load_prompt("first.v1").render("q", ["Title: Content: Fleas.", "b"])
    assert prompt.untrusted[1].text == "Fleas."


def test_line_breaks_are_joined_before_characters_are_counted():
    prompt, cut = load_prompt("grouprank.v1").render("q", ["a\n\n\nb" + "c" * 2997, "x"])
    assert prompt.untrusted[1].text == "a b" + "c" * 2997
    assert not cut


def test_braces_in_a_passage_stay_braces():
    prompt, _ = load_prompt("first.v1").render("{num}", ["{query} {0}", "b"])
    assert [p.text for p in prompt.untrusted] == ["{num}", "{query} {0}", "b", "{num}"]


@pytest.mark.parametrize(("words", "cut"), [(299, False), (300, False), (301, True)])
def test_passages_are_cut_at_300_words_and_the_cut_is_reported(words, cut):
    prompt, shortened = load_prompt("first.v1").render("q", ["w " * words, "b"])
    assert len(prompt.untrusted[1].text.split()) == min(words, 300)
    assert shortened == (frozenset({0}) if cut else frozenset())


def test_limits_must_be_positive():
    with pytest.raises(InputError, match="max_passage_words"):
        ListwisePrompt(alphabet="letters", user="{query}{passages}", max_passage_words=0)
    with pytest.raises(InputError, match="max_passage_words"):
        LikelihoodPrompt(user="{passage}", max_passage_words=0)


@pytest.mark.parametrize(
    ("form", "max_words", "text", "cut"),
    [
        (PassageForm(), None, "a  b\nc d", False),
        (PassageForm(join_lines=True), None, "a  b c d", False),
        (PassageForm(titled="{title}: {passage}"), None, "T: a  b\nc d", False),
        (PassageForm(max_passage_characters=4), None, "a  b", True),
        (PassageForm(max_passage_words=3), None, "a b c", True),
        (PassageForm(max_passage_words=9), None, "a b c d", False),  # words, joined by spaces
        (PassageForm(max_passage_words=3), 2, "a b", True),
        (PassageForm(), 9, "a  b\nc d", False),  # it fits: nothing is changed
        (PassageForm(max_passage_tokens=1), None, "a  b\nc d", False),  # the backend's
    ],
)
def test_the_form_of_a_passage(form, max_words, text, cut):
    assert form.cut(Passage("a  b\nc d", title="T"), max_words) == (text, cut)


def test_a_plain_string_has_no_title():
    assert PassageForm(titled="{title}: {passage}").cut("a") == ("a", False)


def test_a_form_for_titles_needs_both_fields():
    with pytest.raises(ConfigurationError, match="titled lacks the fields"):
        PassageForm(titled="{passage}").check()


def test_the_smallest_limit_bounds_the_words():
    form = PassageForm(max_passage_words=30, max_passage_tokens=20, max_passage_characters=90)
    assert form.most_words == 20
    assert PassageForm().most_words > 10**6


def test_fill_puts_parts_in_the_place_of_fields():
    query = Untrusted("{x}", "query")
    assert fill("a: {query}{n}b", {"query": [query], "n": []}) == ["a: ", query, "b"]
    assert "".join(fill("{{q}}: {query}", {"query": ["b"]})) == "{q}: b"


@pytest.mark.parametrize("templated", [True, False])
def test_a_chat_has_a_system_message_if_there_is_one(templated):
    user = Message("user", ("hello",))
    with_system = chat("be brief", ["hello"], "[", templated=templated)
    assert with_system == Prompt((Message("system", ("be brief",)), user), "[", chat=templated)
    assert chat("", ["hello"], "", templated=templated).messages == (user,)
