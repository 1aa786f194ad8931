"""Public checkpoints by name: what a name builds, and what is refused."""

import json
import math
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from rerank_plugins import (
    ConfigurationError,
    InputError,
    Limits,
    Passage,
    Reranker,
    UnknownNameError,
    load_reranker,
)
from rerank_plugins.backends import OpenAIBackend
from rerank_plugins.presets import find_preset
from rerank_plugins.strategies import PairScore, Permutation, QueryLikelihood, SlidingWindow
from rerank_plugins.testing import Oracle


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
        UnknownNameError, match=r"'gpt2' is not a known checkpoint.*With strategy=\.\.\. it may be"
    ):
        load_reranker("gpt2")
    with pytest.raises(UnknownNameError, match="'no/such' is not a known checkpoint"):
        load_reranker("gpt2", preset="no/such", strategy="query-likelihood")
    with pytest.raises(InputError, match="base= is for adapters"):
        load_reranker("castorini/first_mistral", base="gpt2")


@pytest.mark.parametrize("name", ["top_k", "top_n"])
def test_the_number_of_passages_is_given_to_each_ranking(name):
    with pytest.raises(InputError, match=rf"no {name}\. Give it to each ranking: reranker\.rank"):
        load_reranker(**{name: 5})


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


def test_a_server_is_one_argument():
    reranker = load_reranker("first_mistral", base_url="http://localhost:8000", api_key="hidden")
    assert isinstance(reranker.backend, OpenAIBackend)
    assert reranker.strategy == load_reranker("castorini/first_mistral").strategy
    assert (reranker.backend.model, reranker.backend.api_key) == ("first_mistral", "hidden")
    assert "hidden" not in repr(reranker)
    with pytest.raises(ConfigurationError, match="secret"):
        reranker.to_spec()
    from_environment = load_reranker("m", base_url="http://localhost", api_key_env="KEY").to_spec()
    assert from_environment["backend"]["api_key_env"] == "KEY"


@pytest.mark.parametrize("scored", [True, False])
def test_the_default_s_probabilities_are_those_of_its_page(scored):
    """Its five numbers, as docs/default.md states them, over its own similarities."""
    page = (Path(__file__).parents[3] / "docs" / "default.md").read_text("utf-8")
    formula = re.search(r"([\d.]+) · similarity - ([\d.]+) \+ ([\d.]+) / \((\d+) \+ place\)", page)
    slope, intercept, places, k = map(float, formula.groups())
    unplaced = float(re.search(r"In any other list ([\d.]+) stands", page)[1])
    texts = ["Fleas live two or three months.", "The sea is salty.", "A flea feeds on blood."]
    given = [Passage(text, score=9.0 - i) for i, text in enumerate(texts)] if scored else texts
    similar = load_reranker(strategy="pair-score").rank("how long does a flea live?", texts)
    known = dict(zip(similar.order, similar.scores, strict=True))
    found = load_reranker().rank("how long does a flea live?", given)
    for i, probability in zip(found.order, found.scores, strict=True):
        last = places / (k + i + 1) if scored else unplaced
        odds = slope * known[i] - intercept + last
        assert probability == pytest.approx(1 / (1 + math.exp(-odds)), abs=1e-6)


def test_the_default_makes_itself_again_from_its_spec():
    reranker = load_reranker()
    again = load_reranker(reranker.to_spec())
    assert again.to_spec() == reranker.to_spec()
    texts = ["Cats sleep.", "A flea lives for two months."]
    assert again.rank("flea?", texts).scores == reranker.rank("flea?", texts).scores


def test_an_address_alone_may_be_base_url():
    with pytest.raises(ConfigurationError, match="Start the server, or check the address"):
        load_reranker(base_url="http://127.0.0.1:1")


def test_scores_of_a_server_are_not_calibrated_again():
    """A rerank service of the default sends probabilities, and not the encoder's cosines."""
    assert load_reranker("default", base_url="http://localhost:1").strategy == PairScore()
    other = load_reranker("zerank-2", base_url="http://localhost:1").strategy
    assert other == load_reranker("zerank-2").strategy


def test_options_of_a_spec_and_of_the_caller(tmp_path):
    spec = {"model": "first_mistral", "dtype": "float16", "on_error": "keep_order"}
    spec |= {"limits": {"max_calls": 3}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    kept = load_reranker(tmp_path / "spec.json", device="cpu")
    assert (kept.on_error, kept.limits) == ("keep_order", Limits(max_calls=3))
    assert (kept.backend.dtype, kept.backend.device) == ("float16", "cpu")
    changed = load_reranker(spec, on_error="raise", limits=Limits(max_calls=5), dtype="float32")
    assert (changed.on_error, changed.limits) == ("raise", Limits(max_calls=5))
    assert changed.backend.dtype == "float32"
    with_name = load_reranker({"strategy": "first", "backend": "constant"}, strategy="pair-score")
    assert with_name.strategy == PairScore()
    with pytest.raises(InputError, match="options are for a backend that is built here"):
        load_reranker({"strategy": "first", "backend": Oracle()}, device="cpu")


def test_every_spec_makes_the_same_reranker_again(tmp_path):
    for name in ("first_mistral", "bge-reranker-v2-m3", "ERank-4B"):
        reranker = load_reranker(name, on_error="keep_order")
        for suffix in ("json", "yaml"):
            file = tmp_path / f"spec.{suffix}"
            file.write_text(json.dumps(reranker.to_spec()))
            again = load_reranker(file)
            assert again.strategy == reranker.strategy
            assert again.to_spec() == reranker.to_spec()
