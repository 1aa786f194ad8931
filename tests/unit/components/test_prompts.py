"""The prompts inside a strategy."""

from dataclasses import dataclass, replace

import pytest

from rerank_plugins import ConfigurationError
from rerank_plugins.components import find_prompts, with_prompt
from rerank_plugins.prompts import load_prompt
from rerank_plugins.strategies import Blend, PairScore, Permutation, QueryLikelihood, SlidingWindow


def test_places_lead_through_strategies():
    strategy = Blend(SlidingWindow(inner=Permutation()))
    [place] = find_prompts(strategy)
    assert place == "inner.inner.prompt"
    prompt = replace(find_prompts(strategy)[place], system="changed")
    changed = with_prompt(strategy, place, prompt)
    assert find_prompts(changed) == {place: prompt}
    assert find_prompts(strategy) != find_prompts(changed)


def test_names_are_loaded():
    assert find_prompts(QueryLikelihood()) == {"prompt": load_prompt(QueryLikelihood().prompt)}
    assert find_prompts(PairScore()) == {}


def test_a_prompt_of_another_kind_is_refused():
    with pytest.raises(ConfigurationError):
        with_prompt(QueryLikelihood(), "prompt", load_prompt("rankzephyr.v1"))


def test_strategies_of_other_kinds_show_what_is_a_field():
    class Plain:
        prompt = "rankzephyr.v1"

    @dataclass(frozen=True)
    class Own:
        prompt: str = "rankzephyr.v1"

    assert find_prompts(Plain()) == {}
    assert list(find_prompts(Own())) == ["prompt"]
