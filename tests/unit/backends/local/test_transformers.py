"""Arguments of the transformers backend. Its answers are tested by the contract and real models."""

from pathlib import Path

import pytest
import tiny_models

from rerank_plugins import InputError, Reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.calls import Attend, Generate, Likelihood, Message, NextToken, Prompt
from rerank_plugins.strategies import QueryLikelihood


def loaded():
    tokenizer = tiny_models.characters()
    return tiny_models.llama(len(tokenizer)), tokenizer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_tokens": 0}, "context_tokens is 0"),
        ({"max_batch_tokens": -1}, "max_batch_tokens is -1"),
        ({"tokenizer": object()}, "a tokenizer belongs to a loaded model"),
        ({"device": "cpu", "device_map": "auto"}, "device and device_map"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TransformersBackend("model", **options)


def test_a_model_must_be_given():
    with pytest.raises(InputError, match="model is None"):
        TransformersBackend(None)


@pytest.mark.parametrize(
    "option", [{"adapter": "a"}, {"compile": True}, {"attention": "sdpa"}, {"device_map": "auto"}]
)
def test_options_of_loading_are_refused_beside_a_loaded_model(option):
    model, tokenizer = loaded()
    with pytest.raises(InputError, match=f"{next(iter(option))} is for loading"):
        TransformersBackend(model, tokenizer=tokenizer, **option)


def test_paths_are_text():
    backend = TransformersBackend(Path("a/model"), adapter=Path("an/adapter"))
    assert (backend.model, backend.adapter) == ("a/model", "an/adapter")


def test_a_loaded_model_answers_four_kinds_without_dropout():
    model, tokenizer = loaded()
    model.train()
    backend = TransformersBackend(model, tokenizer=tokenizer)
    prompt = Prompt((Message("user", ("ab",)),))
    assert backend.token_ids(prompt) == tokenizer("<user>ab", add_special_tokens=False)["input_ids"]
    assert not model.training
    assert backend.kinds == {NextToken, Generate, Likelihood, Attend} == set(backend._ready().table)


def test_loading_is_no_part_of_a_ranking_s_seconds(tmp_path):
    for part in loaded():
        part.save_pretrained(tmp_path)
    reranker = Reranker(QueryLikelihood(), TransformersBackend(tmp_path, device="cpu"))
    texts = ["a flea lives for weeks " * 8 + str(i) for i in range(60)]
    reranker.rank("fleas", texts)  # the first pass of a process prepares PyTorch too
    reranker.close()
    first, second = (reranker.rank(query, texts).usage for query in ("fleas", "cats?"))
    assert max(first.seconds, second.seconds) < 2 * min(first.seconds, second.seconds)
    assert second.loading_seconds < 0.01 < first.loading_seconds
