"""Public checkpoints: their names, and what is known of each."""

import pytest

from rerank_plugins import Reranker, UnknownNameError, list_presets, load_reranker
from rerank_plugins.presets import find_preset, preset_parts, size_of


def test_aliases_and_case_lead_to_the_same_checkpoint():
    assert find_preset("cross-encoder/ms-marco-MiniLM-L-6-v2") is find_preset(
        "Cross-Encoder/MS-MARCO-MiniLM-L6-v2"
    )
    assert "cross-encoder/ms-marco-MiniLM-L-6-v2" not in list_presets()


def test_every_checkpoint_is_listed_once_under_its_own_name():
    for name, line in list_presets().items():
        preset = find_preset(name)
        assert preset["id"] == name
        assert preset["description"] == line
        for alias in preset.get("aliases", ()):
            assert find_preset(alias) is preset
    assert isinstance(load_reranker("castorini/first_mistral"), Reranker)


def test_every_checkpoint_goes_by_its_name_without_the_organisation():
    for name in list_presets():
        short = name.partition("/")[2]
        assert find_preset(short) is find_preset(name)
        assert find_preset(short.upper()) is find_preset(name)
    assert len({name.partition("/")[2].lower() for name in list_presets()}) == len(list_presets())
    assert find_preset("ms-marco-MiniLM-L-6-v2")["id"] == "cross-encoder/ms-marco-MiniLM-L6-v2"


def test_a_name_that_nobody_knows():
    says = r"there is no preset 'first_mistrall'\. Did you mean castorini/first_mistral"
    with pytest.raises(UnknownNameError, match=says):
        preset_parts("first_mistrall")


def test_every_checkpoint_has_a_size():
    for name in list_presets():
        assert 0.001 < find_preset(name)["billions"] < 100, name
        assert size_of(find_preset(name)).endswith("in 16 bits")
    # The names of many say how large they are, rounded.
    for name, billions in (("ERank-14B", 14), ("Qwen3-Reranker-0.6B", 0.6), ("reasonrank-7B", 7)):
        assert find_preset(name)["billions"] == pytest.approx(billions, rel=0.1)
    assert size_of({}) == "of unknown size"
