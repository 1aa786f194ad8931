"""Loading options: adapters, devices, quantised weights, attention, compilation."""

import json
import shutil

import pytest

from rerank_plugins import InputError, MissingExtraError, ModelLoadError, Reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.registry import from_spec, to_spec
from rerank_plugins.strategies import QueryLikelihood, SingleToken

# Raised by peft itself, about a name of transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

QUERY = "how long does a flea live"
PASSAGES = ["Cats sleep all day.", "Adult fleas live for two to three months.", "Dogs bark."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model, tokenizer):
    path = tmp_path_factory.mktemp("tiny")
    tiny_model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, folder):
    """A LoRA adapter with random values, as training saves them."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    path = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(path)
    return path


def scores(backend, strategy=None):
    ranking = Reranker(strategy or SingleToken(), backend).rank(QUERY, PASSAGES)
    return [ranking.scores[ranking.order.index(i)] for i in range(len(PASSAGES))]


@pytest.mark.parametrize("strategy", [SingleToken(), QueryLikelihood()])
def test_an_adapter_changes_the_scores_as_peft_does(folder, adapter, tokenizer, strategy):
    import peft
    from transformers import AutoModelForCausalLM

    found = scores(TransformersBackend(folder, adapter=adapter), strategy)
    beside = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter)
    expected = scores(TransformersBackend(beside.get_base_model(), tokenizer=tokenizer), strategy)
    assert found == pytest.approx(expected, abs=1e-4)
    plain = scores(TransformersBackend(folder), strategy)
    assert max(abs(a - b) for a, b in zip(found, plain, strict=True)) > 0.01


def test_an_adapter_in_another_format_is_not_loaded(folder, adapter, tmp_path):
    import torch

    shutil.copy(adapter / "adapter_config.json", tmp_path)
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(ModelLoadError, match=r"has no adapter_model\.safetensors"):
        TransformersBackend(folder, adapter=tmp_path).warm_up()


def test_an_adapter_that_is_not_there(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelLoadError, match="there is no adapter 'no/such'"):
        TransformersBackend(folder, adapter="no/such").warm_up()


def test_an_adapter_of_another_model(folder, adapter, tmp_path):
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "target_modules": ["c_attn"]}))
    with pytest.raises(ModelLoadError, match="the model that it was trained on"):
        TransformersBackend(folder, adapter=tmp_path).warm_up()
    file.write_text(json.dumps({**config, "target_modules": ["q_proj", "v_proj", "k_proj"]}))
    with pytest.raises(ModelLoadError, match="missing adapter keys"):
        TransformersBackend(folder, adapter=tmp_path).warm_up()
    file.write_text(json.dumps({**config, "r": 8}))
    with pytest.raises(ModelLoadError, match="cannot put the adapter"):
        TransformersBackend(folder, adapter=tmp_path).warm_up()


def test_without_peft_it_says_what_to_install(folder, adapter, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"rerank-plugins\[adapters\]"):
        TransformersBackend(folder, adapter=adapter).warm_up()


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, "auto"])
def test_a_device_map(folder, device_map):
    backend = TransformersBackend(folder, device_map=device_map, dtype="float32")
    assert scores(backend) == pytest.approx(scores(TransformersBackend(folder)), abs=1e-4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_an_attention_implementation(folder, attention):
    backend = TransformersBackend(folder, attention=attention)
    assert scores(backend) == pytest.approx(scores(TransformersBackend(folder)), abs=1e-4)
    assert backend._loaded.model.config._attn_implementation == attention


def test_an_attention_implementation_that_is_not_there(folder):
    with pytest.raises(ModelLoadError, match="cannot load"):
        TransformersBackend(folder, attention="no_such").warm_up()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
@pytest.mark.parametrize("strategy", [SingleToken(), QueryLikelihood()])
def test_a_compiled_model_scores_alike(folder, strategy):
    backend = TransformersBackend(folder, compile=True)
    expected = scores(TransformersBackend(folder), strategy)
    assert scores(backend, strategy) == pytest.approx(expected, abs=1e-4)


def test_quantised_weights(folder):
    pytest.importorskip("bitsandbytes", reason="no bitsandbytes")
    how = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    backend = TransformersBackend(folder, quantization=how)
    found, plain = scores(backend), scores(TransformersBackend(folder))
    assert backend._loaded.model.is_quantized
    assert found != pytest.approx(plain, abs=1e-4)
    assert found == pytest.approx(plain, abs=2.0)


def test_a_quantization_that_does_not_exist(folder):
    with pytest.raises(ModelLoadError, match="cannot load"):
        TransformersBackend(folder, quantization={"quant_method": "no-such"}).warm_up()


def test_options_of_loading_are_refused_for_a_loaded_model(tiny_model, tokenizer):
    for option in ({"adapter": "a"}, {"compile": True}, {"attention": "sdpa"}):
        with pytest.raises(InputError, match="loaded already"):
            TransformersBackend(tiny_model, tokenizer=tokenizer, **option)


def test_one_place_says_where_a_model_goes():
    with pytest.raises(InputError, match="device and device_map"):
        TransformersBackend("m", device="cpu", device_map="auto")


def test_the_options_can_be_stored(tmp_path):
    backend = TransformersBackend(
        "m", adapter=tmp_path, attention="sdpa", quantization={"load_in_4bit": True}
    )
    again = from_spec("backends", json.loads(json.dumps(to_spec("backends", backend))))
    assert again.adapter == str(tmp_path)
    assert (again.attention, again.quantization) == ("sdpa", {"load_in_4bit": True})
