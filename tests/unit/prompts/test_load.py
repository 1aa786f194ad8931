"""Prompts by their names and from files, checked when they are loaded."""

import pytest

from rerank_plugins import ConfigurationError, UnknownNameError
from rerank_plugins.prompts import (
    LikelihoodPrompt,
    ListwisePrompt,
    PointwisePrompt,
    list_prompts,
    load_prompt,
    require,
)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"first\.v1"):
        load_prompt("first.v9")


def test_a_prompt_of_ones_own_from_a_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('kind = "listwise"\nalphabet = "numbers"\nuser = "{query}\\n{passages}"\n')
    prompt, _ = load_prompt(str(file)).render("q", ["a", "b"])
    assert prompt.text == "q\n[1] a\n[2] b\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("kind = 3 =", "not valid TOML"),
        ('kind = "poem"', "kind = one of"),
        ('kind = "listwise"\nalphabet = "numbers"\nuser = "{query}"', "lacks the fields"),
        ('kind = "listwise"\nalphabet = "numbers"\nuser = "{passages}{x}"', "unknown fields"),
        (
            'kind = "listwise"\nalphabet = "runes"\nuser = "{passages}"',
            "not letters, numbers or tokens",
        ),
        ('kind = "listwise"\nalphabet = "numbers"\nuser = "{passages"', "not a template"),
        ('kind = "listwise"\nuser = "{query}{passages}"', "needs values for alphabet$"),
        ('kind = "likelihood"', "needs values for user$"),
        ('kind = "likelihood"\nuser = 3', "has 3 as user$"),
        ('kind = "likelihood"\nuser = "{passage}"\nchat = "no"', "has 'no' as chat$"),
        ('kind = "listwise"\nalphabet = "numbers"\nuser = "{passages}"', "lacks.*query"),
        (
            'kind = "listwise"\nalphabet = "numbers"\nuser = "{query}{passages}"\n'
            'max_passage_words = "300"',
            "'300'",
        ),
        ('kind = "likelihood"\nuser = "{passage}"\ncolour = "red"', "has no key colour"),
    ],
)
def test_a_broken_file_is_refused_when_it_is_loaded(tmp_path, source, message):
    file = tmp_path / "broken.toml"
    file.write_text(source)
    with pytest.raises(ConfigurationError, match=message):
        load_prompt(str(file))


def test_a_missing_file_is_an_unknown_name(tmp_path):
    with pytest.raises(UnknownNameError, match="cannot read"):
        load_prompt(str(tmp_path / "absent.toml"))


def test_a_prompt_is_loaded_once():
    assert all(load_prompt(name) is load_prompt(name) for name in list_prompts())


def test_a_strategy_requires_its_kind():
    prompt = load_prompt("first.v1")
    assert require(prompt, ListwisePrompt) is prompt
    assert require("first.v1", ListwisePrompt) is prompt
    for kind in (PointwisePrompt, LikelihoodPrompt):
        with pytest.raises(ConfigurationError, match=f"'first.v1' is not a {kind.kind} prompt"):
            require("first.v1", kind)
