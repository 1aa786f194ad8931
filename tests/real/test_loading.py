"""Everything that can be wrong with a model is one sentence."""

import asyncio
import builtins
import json
import shutil
import sys
import threading

import pytest

from rerank_plugins import (
    ChatTemplateError,
    ConfigurationError,
    InputError,
    LabelError,
    MissingExtraError,
    ModelLoadError,
    ModelOutputError,
    PromptTooLongError,
    Reranker,
)
from rerank_plugins.backends import TransformersBackend, unpacked_gguf
from rerank_plugins.calls import Generate, Message, NextToken, Prompt, Untrusted
from rerank_plugins.prompts import ListwisePrompt
from rerank_plugins.strategies import Permutation, QueryLikelihood, SingleToken, SlidingWindow

HELLO = Prompt((Message("user", ("Hello",)),))


@pytest.fixture
def folder(tmp_path, tiny_model, tokenizer):
    """A complete model folder, to be damaged."""
    tiny_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_loads_and_agrees_with_the_loaded_model(folder, tiny):
    [here] = TransformersBackend(folder).run([NextToken(HELLO, ("A", "B"))])
    [there] = tiny.run([NextToken(HELLO, ("A", "B"))])
    assert here.answer.seen == pytest.approx(there.answer.seen, abs=1e-5)


@pytest.mark.parametrize("name", ["no/such/folder", "./absent", "absent.gguf"])
def test_a_model_that_is_not_there(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelLoadError, match=r"absent|no/such"):
        TransformersBackend(name).warm_up()


def test_an_empty_folder(tmp_path):
    with pytest.raises(ModelLoadError, match="cannot load"):
        TransformersBackend(tmp_path).warm_up()


def test_damaged_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelLoadError, match="cannot load"):
        TransformersBackend(folder).warm_up()


def test_damaged_configuration(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match="cannot load"):
        TransformersBackend(folder).warm_up()


def test_weights_that_are_missing_would_be_random(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match="lack 1 tensors"):
        TransformersBackend(folder).warm_up()


def test_a_pickle_is_never_loaded(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="cannot load"):
        TransformersBackend(folder).warm_up()


def test_an_encoder_is_no_language_model(folder):
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["LlamaModel"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="not a causal language model"):
        TransformersBackend(folder).warm_up()


def test_a_file_that_is_no_gguf(tmp_path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelLoadError, match="as GGUF"):
        unpacked_gguf(file)


def test_nothing_is_left_behind_by_a_file_that_is_no_gguf(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.cached_assets_path", lambda **kwargs: tmp_path / "cache")
    (tmp_path / "broken.gguf").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError):
        unpacked_gguf(tmp_path / "broken.gguf")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("module", ["torch", "transformers", "gguf"])
def test_a_missing_extra_is_one_sentence(monkeypatch, module, tmp_path):
    for name in [m for m in sys.modules if m.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(name, name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr("rerank_plugins._extras.import_module", lambda name: absent(name))
    (tmp_path / "model.gguf").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"rerank-plugins\[transformers\]"):
        TransformersBackend(tmp_path / "model.gguf").warm_up()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "toaster"}, "no device"),
        ({"device": "cuda:99"}, "no device"),
        ({"dtype": "float12"}, "no dtype"),
    ],
)
def test_options_that_do_not_exist(folder, options, message):
    with pytest.raises(ConfigurationError, match=message):
        TransformersBackend(folder, **options).warm_up()


@pytest.mark.parametrize("options", [{"context_tokens": 0}, {"max_batch_tokens": -1}])
def test_options_out_of_range(options):
    with pytest.raises(InputError):
        TransformersBackend("folder", **options)


def test_a_tokenizer_and_a_loaded_model_belong_together(tiny_model, tokenizer):
    with pytest.raises(InputError, match="belongs"):
        TransformersBackend("folder", tokenizer=tokenizer)
    with pytest.raises(InputError, match="belongs"):
        TransformersBackend(tiny_model)


def test_no_chat_template_where_one_is_needed(folder):
    (folder / "chat_template.jinja").unlink()
    backend = TransformersBackend(folder)
    with pytest.raises(ChatTemplateError, match="no chat template"):
        Reranker(SingleToken(), backend).rank("q", ["a", "b"])
    assert len(Reranker(QueryLikelihood(), backend).rank("q", ["a", "b"])) == 2
    given = TransformersBackend(folder, chat_template="{{ messages[0]['content'] }}")
    assert len(Reranker(SingleToken(), given).rank("q", ["a", "b"])) == 2


def test_templates_without_a_system_role_get_it_in_the_user_message(tiny_model, tokenizer):
    silent = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + silent
    )
    prompt = Prompt((Message("system", ("Rank.",)), Message("user", ("Now.",))))
    for template in (silent, refusing):
        backend = TransformersBackend(tiny_model, tokenizer=tokenizer, chat_template=template)
        assert tokenizer.decode(backend.token_ids(prompt)) == "<user>Rank.\n Now."


def test_a_template_that_fails(tiny_model, tokenizer):
    broken = "{{ raise_exception('never') }}"
    backend = TransformersBackend(tiny_model, tokenizer=tokenizer, chat_template=broken)
    with pytest.raises(ChatTemplateError, match="never"):
        backend.run([NextToken(HELLO, ("A", "B"))])


def test_template_options_reach_the_template(tiny_model, tokenizer):
    template = "{{ messages[0]['content'] }}{{ mood }}"
    backend = TransformersBackend(
        tiny_model, tokenizer=tokenizer, chat_template=template, template_options={"mood": "!"}
    )
    assert tokenizer.decode(backend.token_ids(HELLO)) == "Hello!"


def test_labels_that_are_not_single_distinct_tokens(tiny):
    with pytest.raises(LabelError, match="not a single token"):
        tiny.run([NextToken(HELLO, ("A", "hippopotamus"))])
    with pytest.raises(LabelError, match="distinct"):
        tiny.run([NextToken(HELLO, ("A", "A"))])
    two_digits = ListwisePrompt(alphabet="numbers", user="{query}{passages}", prefill="[")
    with pytest.raises(InputError, match="identifiers of one token"):
        Reranker(SingleToken(prompt=two_digits), tiny).rank("q", ["p"] * 10)


def test_a_prompt_that_does_not_fit_is_a_value_and_then_shortened(tiny_model, tokenizer):
    backend = TransformersBackend(tiny_model, tokenizer=tokenizer, context_tokens=400)
    long_prompt = Prompt((Message("user", ("word " * 1000,)),))
    [error] = backend.run([NextToken(long_prompt, ("A", "B"))])
    assert isinstance(error, PromptTooLongError)
    ids = backend.token_ids(long_prompt)
    assert error.excess_tokens == len(ids) + 1 - 400
    ranking = Reranker(SingleToken(), backend).rank("q", ["word " * 300, "short", "word " * 9])
    assert ranking.report.truncated == {0}
    assert ranking.usage.prompt_tokens < 400


def test_a_prompt_that_cannot_fit_even_after_shortening(tiny_model, tokenizer):
    backend = TransformersBackend(tiny_model, tokenizer=tokenizer, context_tokens=100)
    strategy = SlidingWindow(inner=SingleToken())
    with pytest.raises(PromptTooLongError, match="one word per passage"):
        Reranker(strategy, backend).rank("q", ["some text"] * 5)
    kept = Reranker(strategy, backend, on_error="keep_order").rank("q", ["some text"] * 5)
    assert kept.order == (0, 1, 2, 3, 4)
    assert kept.report.fallbacks


def test_an_answer_needs_room_too(tiny_model, tokenizer):
    backend = TransformersBackend(tiny_model, tokenizer=tokenizer, context_tokens=60)
    fits, too_long = backend.run([Generate(HELLO, 5), Generate(HELLO, 60)])
    assert fits.generated_tokens <= 5
    assert isinstance(too_long, PromptTooLongError)


def test_parts_with_a_token_limit_are_cut_and_reported(tiny):
    parts = (Untrusted("q", "query"), Untrusted("word " * 50, max_tokens=5), Untrusted("w"))
    prompt = Prompt((Message("user", parts),))
    [reply] = tiny.run([NextToken(prompt, ("A", "B"))])
    assert reply.truncated == (1,)
    [whole] = tiny.run(
        [
            NextToken(
                Prompt(
                    (
                        Message(
                            "user",
                            (parts[0], "w"),
                        ),
                    )
                ),
                ("A", "B"),
            )
        ]
    )
    assert reply.prompt_tokens - whole.prompt_tokens < 10


def test_numbers_that_are_not_numbers_are_an_error(tiny_model, tokenizer):
    import copy

    import torch

    broken = copy.deepcopy(tiny_model)
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    backend = TransformersBackend(broken, tokenizer=tokenizer)
    with pytest.raises(ModelOutputError, match="not numbers"):
        Reranker(SingleToken(), backend).rank("q", ["a", "b"])


def test_sampling_with_a_seed_repeats_and_leaves_the_global_generator_alone(tiny):
    import torch

    state = torch.random.get_rng_state()
    call = Generate(HELLO, 8, temperature=1.0, seed=3, logprobs=True)
    [first] = tiny.run([call])
    [second] = tiny.run([call])
    [other] = tiny.run([Generate(HELLO, 8, temperature=1.0, seed=4)])
    assert first == second
    assert first.answer.text != other.answer.text
    assert len(first.answer.tokens) == first.generated_tokens
    assert all(logprob <= 0 for _, logprob in first.answer.tokens)
    assert torch.equal(state, torch.random.get_rng_state())


def test_generation_stops_where_it_is_told_to(smollm2):
    prompt = Prompt((Message("user", ("Count: 1 2 3 4 5 6 7 8 9",)),), prefill="1 2 3")
    [whole] = smollm2.run([Generate(prompt, 8)])
    assert " 4" in whole.answer.text
    [stopped] = smollm2.run([Generate(prompt, 8, stop=("5",))])
    assert stopped.answer.finish_reason == "stop"
    assert "5" not in stopped.answer.text
    [cut] = smollm2.run([Generate(prompt, 2)])
    assert cut.answer.finish_reason == "length"


def test_close_forgets_the_model_and_the_next_call_loads_it_again(folder):
    backend = TransformersBackend(folder)
    first = backend.run([NextToken(HELLO, ("A", "B"))])
    backend.close()
    backend.close()
    shutil.move(folder / "model.safetensors", folder / "elsewhere")
    with pytest.raises(ModelLoadError):
        backend.warm_up()
    shutil.move(folder / "elsewhere", folder / "model.safetensors")
    assert backend.run([NextToken(HELLO, ("A", "B"))]) == first


def test_loading_is_silent(folder, capfd):
    TransformersBackend(folder).warm_up()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("strategy", [QueryLikelihood(), Permutation(max_tokens=500)])
def test_what_nobody_waits_for_is_given_up(tiny_model, tokenizer, strategy):
    """The model stops at the next forward pass, so that the next ranking need not wait."""
    backend = TransformersBackend(tiny_model, tokenizer=tokenizer)
    backend.warm_up()
    forward, passes = tiny_model.forward, []
    started, go = threading.Event(), threading.Event()

    def slow(*args, **kwargs):
        passes.append(1)
        started.set()
        go.wait(60)
        return forward(*args, **kwargs)

    async def main():
        task = asyncio.create_task(Reranker(strategy, backend).arank("q", ["a", "b", "c"]))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    tiny_model.forward = slow
    try:
        asyncio.run(main())
        go.set()
        backend.close()  # waits for the batch under way
    finally:
        tiny_model.forward = forward
    assert len(passes) == 1
