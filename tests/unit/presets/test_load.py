"""Public checkpoints by name: what a name builds, and what is refused."""

from importlib.util import find_spec

import pytest

from rerank_plugins import InputError, Reranker, UnknownNameError, list_presets, load_reranker
from rerank_plugins.presets import find_preset, preset_parts
from rerank_plugins.strategies import Permutation, QueryLikelihood, SlidingWindow


def test_aliases_and_case_lead_to_the_same_checkpoint():
    assert find_preset("cross-encoder/ms-marco-MiniLM-L-6-v2") is find_preset(
        "Cross-Encoder/MS-MARCO-MiniLM-L6-v2"
    )
    assert "cross-encoder/ms-marco-MiniLM-L-6-v2" not in list_presets()


def test_presets_hold_what_the_authors_ran():
    group = load_reranker("AQ-MedAI/Diver-GroupRank-7B").strategy
    assert (group.size, group.interval, group.weight, group.max_tokens) == (20, 10, 0.6, 8000)
    assert (group.sampling.temperature, group.sampling.top_p, group.seed) == (0.3, 0.8, 666)
    reason = load_reranker("lwhlwh/reasonrank-8B").strategy.inner
    assert (reason.sampling.temperature, reason.sampling.top_p, reason.sampling.top_k) == (
        0.6,
        0.95,
        20,
    )
    dear = load_reranker("abdoelsayed/dear-8b-reranker-listwise-v1").strategy
    assert dear.inner.max_tokens == 1024
    assert isinstance(dear, SlidingWindow)
    assert isinstance(dear.inner, Permutation)
    pairs = load_reranker("abdoelsayed/dear-3b-reranker-ce-v1").backend
    assert (pairs.query_template, pairs.passage_template) == (
        "query: {query}",
        "document: {passage}",
    )
    assert pairs.max_tokens == 228


def test_any_model_with_a_strategy():
    reranker = load_reranker("gpt2", strategy="query-likelihood", context_tokens=512)
    assert reranker.strategy == QueryLikelihood()
    assert (reranker.backend.model, reranker.backend.context_tokens) == ("gpt2", 512)


def test_a_copy_of_a_checkpoint():
    copy = load_reranker("/models/copy", preset="castorini/first_mistral")
    original = load_reranker("castorini/first_mistral")
    assert copy.strategy == original.strategy
    assert copy.backend.model == "/models/copy"
    assert copy.backend.context_tokens == original.backend.context_tokens


def test_names_that_are_not_known():
    with pytest.raises(
        UnknownNameError, match=r"'gpt2' is not a known checkpoint.*Pass a strategy"
    ):
        load_reranker("gpt2")
    with pytest.raises(UnknownNameError, match="'no/such' is not a known checkpoint"):
        load_reranker("gpt2", preset="no/such", strategy="query-likelihood")
    with pytest.raises(UnknownNameError, match="there is no preset 'no/such'"):
        preset_parts("no/such")
    with pytest.raises(InputError, match="base= is for adapters"):
        load_reranker("castorini/first_mistral", base="gpt2")


def test_every_checkpoint_is_listed_once_under_its_own_name():
    for name, line in list_presets().items():
        preset = find_preset(name)
        assert preset["id"] == name
        assert preset["description"] == line
        for alias in preset.get("aliases", ()):
            assert find_preset(alias) is preset
    assert isinstance(load_reranker("castorini/first_mistral"), Reranker)


def test_specs_of_models_that_ship_with_the_library_hold_their_names():
    """So that they work on another machine: no path of an installation."""
    if find_spec("rerank_plugins_models") is None:
        pytest.skip("no models: pip install ./models")
    for name in ("rerank-plugins/minilm-cross-encoder", "rerank-plugins/smollm2-first"):
        preset = find_preset(name)
        assert name == f"rerank-plugins/{preset['package']}"
        spec = load_reranker(name).to_spec()
        assert spec["backend"][preset["package_holds"]] == name
        assert "/site-packages" not in str(spec)
        assert Reranker.from_spec(spec).to_spec() == spec
    based = load_reranker("rerank-plugins/smollm2-first", base="model.gguf").to_spec()["backend"]
    assert (based["model"], based["adapter"]) == ("model.gguf", "rerank-plugins/smollm2-first")
