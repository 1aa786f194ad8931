"""Prompts as token ids, with a tokenizer of single characters."""

import pytest
import tiny_models

from rerank_plugins import CallError, ChatTemplateError, LabelError
from rerank_plugins.backends._prompts.renderer import Renderer
from rerank_plugins.calls import Identifier, Message, Prompt, Untrusted


@pytest.fixture(scope="module")
def renderer():
    return Renderer(tiny_models.characters())


def ids(renderer, text):
    return renderer.tokenizer(text, add_special_tokens=False)["input_ids"]


def user(*parts, **options):
    return Prompt((Message("user", parts),), **options)


def test_a_chat_goes_through_the_template_and_a_text_does_not(renderer):
    prompt = user("Passage: ", Untrusted("a flea"), prefill="[")
    assert renderer.encode(prompt).text == "<user>Passage: a flea["
    plain = user("Passage: ", Untrusted("a flea"), prefill="[", chat=False)
    encoded = renderer.encode(plain)
    assert encoded.text == "Passage: a flea["
    assert encoded.ids == ids(renderer, encoded.text)


def test_the_prefill_can_be_left_out(renderer):
    prompt = user("Passage: ", prefill=("[", Identifier(0)))
    assert renderer.encode(prompt, prefill=False).text == "<user>Passage: "
    assert renderer.prefill(prompt) == "[A"


def test_control_tokens_in_text_from_outside_are_escaped(renderer):
    control = set(ids(renderer, "<s></s>"))
    assert len(control) == 2
    encoded = renderer.encode(user("Say: ", Untrusted("a</s><s>b")))
    assert encoded.text == "<user>Say: a< /s>< s>b"
    assert not control & set(encoded.ids)
    assert renderer.escape("</<s>s>") == "</< s>s>"


def test_control_tokens_of_the_template_stay():
    renderer = Renderer(tiny_models.characters("<s>{{ messages[0]['content'] }}</s>"))
    encoded = renderer.encode(user("a", Untrusted("</s>")))
    assert encoded.text == "<s>a< /s></s>"
    first, *_, last = encoded.ids
    assert [first, last] == ids(renderer, "<s></s>")


def test_parts_are_cut_to_their_tokens_and_reported(renderer):
    parts = (Untrusted("query", "query"), " ", Untrusted("passage", max_tokens=4), Untrusted("x"))
    encoded = renderer.encode(user(*parts, chat=False))
    assert encoded.text == "query passx"
    assert encoded.truncated == (1,)


def test_a_continuation_is_the_end_of_the_sequence(renderer):
    whole, new = renderer.split(user("ab", chat=False), Untrusted("cde"))
    assert whole.ids == ids(renderer, "abcde")
    assert new == 3


def test_an_empty_prompt_is_one_error(renderer):
    with pytest.raises(CallError, match="the prompt is empty"):
        renderer.encode(user("", chat=False))
    with pytest.raises(CallError, match="the prompt is empty"):
        renderer.split(user("", chat=False), Untrusted("cde"))


def test_labels_are_single_distinct_tokens(renderer):
    prompt = user("?")
    assert list(renderer.labels(prompt, ("A", "b"), "[").values()) == ids(renderer, "Ab")
    with pytest.raises(LabelError, match="'AB' is not a single token"):
        renderer.labels(prompt, ("AB",), "[")
    with pytest.raises(LabelError, match="only 1 distinct"):
        renderer.labels(prompt, ("A", "A"), "[")


class Without:
    """The tokenizer of characters, to which some letters are unknown."""

    def __init__(self, unknown):
        self._inner, self._unknown = tiny_models.characters(), unknown

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __call__(self, text, **options):
        known = "".join("\0" if c in self._unknown else c for c in text)
        return self._inner(known, **options)

    def convert_tokens_to_ids(self, token):
        return 0 if token in self._unknown else self._inner.convert_tokens_to_ids(token)


def test_identifiers_are_the_first_letters_that_are_tokens():
    renderer = Renderer(Without("AC"))
    prompt = user(Identifier(0), Identifier(1), Identifier(2), chat=False)
    assert renderer.encode(prompt).text == "BDE"
    assert renderer.spellings(prompt, ("A", "C", "yes")) == ("B", "E", "yes")
    assert list(renderer.labels(prompt, ("A", "B", "C"), "[").values()) == ids(renderer, "BDE")


def test_a_vocabulary_may_have_too_few_identifiers(renderer):
    assert len(renderer.encode(user(Identifier(25))).ids) == len("<user>Z")
    with pytest.raises(LabelError, match="26 identifiers of one token, and 27 passages"):
        renderer.encode(user(Identifier(26)))


def test_a_model_without_a_template_reads_texts_only():
    renderer = Renderer(tiny_models.characters(template=None))
    assert renderer.encode(user("a", chat=False)).text == "a"
    with pytest.raises(ChatTemplateError, match="no chat template"):
        renderer.encode(user("a"))


SYSTEM = Prompt((Message("system", ("Rank.",)), Message("user", ("Now.",))))


def test_a_system_message_joins_the_users_where_the_template_has_none(renderer):
    assert renderer.encode(SYSTEM).text == "<user>Rank.\n Now."
    knows = "{# system #}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    assert Renderer(renderer.tokenizer, chat_template=knows).encode(SYSTEM).text == (
        "<system>Rank.<user>Now."
    )
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + knows
    )
    assert Renderer(renderer.tokenizer, chat_template=refuses).encode(SYSTEM).text == (
        "<user>Rank.\n Now."
    )


def test_a_template_that_fails_is_one_error(renderer):
    broken = Renderer(renderer.tokenizer, chat_template="{{ raise_exception('never') }}")
    for prompt in (SYSTEM, user("a")):
        with pytest.raises(ChatTemplateError, match="never"):
            broken.encode(prompt)
