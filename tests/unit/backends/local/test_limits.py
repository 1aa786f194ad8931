"""Positions by what a model can run, and padding by what it computes."""

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugins import InputError, ModelLoadError
from rerank_plugins.backends import Seq2SeqBackend, TransformersBackend
from rerank_plugins.backends._local.forward import Forward
from rerank_plugins.backends._local.limits import (
    NO_LIMIT,
    pads_exactly,
    positions,
    require_positions,
)
from rerank_plugins.calls import Message, NextToken, Prompt, Untrusted

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
TABLES = ["bert", "roberta", "xlm-roberta", "camembert", "mpnet", "electra", "data2vec-text"]
RECURRENT = {
    "rwkv": {"attention_hidden_size": 32, "num_hidden_layers": 2},
    "recurrent_gemma": {
        "attention_window_size": 8,
        "block_types": ["recurrent", "attention"],
        "lru_width": 32,
    },
}


def model(kind, auto="AutoModel", **options):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **{"vocab_size": 20, **SMALL, **options})
    return getattr(transformers, auto).from_config(config).float().eval()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(TABLES), st.integers(8, 40), st.integers(0, 3))
def test_a_model_runs_as_many_tokens_as_it_has_positions_and_no_more(kind, size, padding):
    import torch

    found = model(kind, max_position_embeddings=size, pad_token_id=padding)
    limit = positions(found)
    ids = torch.full((1, limit + 1), 7)
    with torch.inference_mode():
        found(ids[:, :limit])
        with pytest.raises((IndexError, RuntimeError)):
            found(ids)


def test_rotary_models_have_the_positions_that_they_state():
    assert positions(model("llama", max_position_embeddings=33)) == 33


def test_models_with_relative_positions_have_no_limit():
    small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    assert positions(model("t5", **small)) == NO_LIMIT
    free = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p"]}
    assert positions(model("deberta-v2", max_position_embeddings=32, **free)) == NO_LIMIT


def test_a_negative_number_of_positions_is_no_limit():
    """XLNet's configuration states -1."""
    assert positions(model("xlnet", d_model=16, n_layer=1, n_head=2, d_inner=16)) == NO_LIMIT


def test_an_exported_model_has_the_positions_of_its_architecture():
    class Exported:
        config = model("xlm-roberta", max_position_embeddings=64, pad_token_id=1).config

    assert positions(Exported()) == 62


def test_more_tokens_than_positions_are_refused():
    found = model("roberta", max_position_embeddings=64, pad_token_id=1)
    assert require_positions("max_tokens", None, found) == 62
    assert require_positions("max_tokens", 62, found) == 62
    with pytest.raises(InputError, match="max_tokens is 63, and the model reads 62 tokens"):
        require_positions("max_tokens", 63, found)


def noisy(found):
    """The model with weights that are large enough to tell one text from another."""
    import torch

    with torch.no_grad():
        for weight in found.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape) * 0.4)
    return found


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
def test_padding_changes_nothing_of_models_that_have_masks(kind):
    assert pads_exactly(Forward(noisy(model(kind, "AutoModelForCausalLM")), 0), 1000)


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_models_read_padding(kind):
    found = noisy(
        model(kind, "AutoModelForCausalLM", **SMALL | {"hidden_size": 32} | RECURRENT[kind])
    )
    assert not pads_exactly(Forward(found, 0), 1000)


def test_prompts_of_recurrent_models_score_together_as_they_score_alone():
    tokenizer = tiny_models.characters()
    options = {"hidden_size": 32, **RECURRENT["rwkv"]}
    found = noisy(model("rwkv", "AutoModelForCausalLM", vocab_size=len(tokenizer), **options))
    single = TransformersBackend(found, tokenizer=tokenizer)
    many = TransformersBackend(found, tokenizer=tokenizer, max_batch_tokens=4096)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.text("abc d", min_size=1, max_size=9), min_size=2, max_size=5, unique=True))
    def check(texts):
        prompts = [Prompt((Message("user", (Untrusted(t),)),), chat=False) for t in texts]
        calls = [NextToken(prompt, ("A", "B")) for prompt in prompts]
        for call, reply in zip(calls, many.run(calls), strict=True):
            right = single.run([call])[0].answer.seen
            assert reply.answer.seen == pytest.approx(right, abs=1e-3)

    check()


LLAMAS = ["LlamaModel", "LlamaForSequenceClassification", "LlamaForTokenClassification"]
T5S = ["T5Model", "T5EncoderModel", "T5ForSequenceClassification"]


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        *((TransformersBackend, name) for name in [*LLAMAS, *T5S, "T5ForConditionalGeneration"]),
        *((Seq2SeqBackend, name) for name in [*LLAMAS, *T5S, "LlamaForCausalLM"]),
    ],
)
def test_loaded_models_of_another_kind_are_refused(backend, name):
    import transformers

    tokenizer = tiny_models.characters()
    if name.startswith("Llama"):
        found = tiny_models.llama(len(tokenizer), name, tokenizer=tokenizer)
    else:
        small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
        config = transformers.T5Config(decoder_start_token_id=0, **small)
        found = getattr(transformers, name)(config)
    with pytest.raises(ModelLoadError, match=f"{name} is not a"):
        backend(found, tokenizer=tokenizer).warm_up()
