"""Hidden states through torch: equal to transformers', padded or not."""

import json
import shutil

import numpy as np
import pytest
import tiny_models

from rerank_plugins import ModelLoadError
from rerank_plugins.backends._late.torch_encoder import (
    TorchEncoder,
    hub_reader,
    load_torch_encoder,
    weights_digest,
)
from rerank_plugins.errors import BackendError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "flea", "sea"]
SOURCE = {"device": "cpu", "dtype": "auto", "revision": None, "token": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    tiny_models.bert(WORDS, folder, "BertModel", initializer_range=0.6)
    return folder


@pytest.fixture
def encoder(folder):
    return load_torch_encoder(str(folder), **SOURCE)


def test_states_are_transformers_own(folder, encoder):
    import torch
    from transformers import AutoModel

    rows = [[2, 5, 6, 3], [2, 7, 3], [2, 3]]
    model = AutoModel.from_pretrained(folder).eval()
    for states, row in zip(encoder.states(rows), rows, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([row])).last_hidden_state[0].numpy()
        assert states == pytest.approx(expected, abs=1e-6)
    with torch.inference_mode():
        padded = encoder._forward(rows)  # as on an accelerator
    for one, other in zip(padded, encoder.states(rows), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_facts(encoder):
    assert [list(ids) for ids in encoder.around] == [[2], [3]]
    assert (encoder.dim, encoder.limit) == (16, 64)
    assert list(encoder.ids("a cat")) == [5, 6]


def test_the_key_is_that_of_the_weights_and_the_tokenizer(folder, encoder, tmp_path):
    import torch

    assert load_torch_encoder(str(folder), **SOURCE).key == encoder.key
    other = load_torch_encoder(str(folder), **SOURCE)
    with torch.no_grad():
        next(other._model.parameters())[0, 0] += 1e-3
    assert other.key != encoder.key
    words = tiny_models.bert([*WORDS[:-1], "see"], tmp_path, "BertModel")[1]
    assert TorchEncoder(encoder._model, words).key != encoder.key
    assert weights_digest(encoder._model) != weights_digest(encoder._model.bfloat16())


def test_the_key_is_that_of_the_configuration_too(folder, encoder, tmp_path):
    """The same tensors with other heads or another activation give other vectors."""
    shutil.copytree(folder, tmp_path / "twin")
    path = tmp_path / "twin" / "config.json"
    stated = json.loads(path.read_text())
    assert load_torch_encoder(str(path.parent), **SOURCE).key == encoder.key
    for changed in ({"num_attention_heads": 1}, {"hidden_act": "relu"}):
        path.write_text(json.dumps(stated | changed))
        assert load_torch_encoder(str(path.parent), **SOURCE).key != encoder.key
    path.write_text(json.dumps(stated | {"architectures": ["BertForMaskedLM"]}))
    assert load_torch_encoder(str(path.parent), **SOURCE).key == encoder.key


def test_a_device_without_memory_is_an_error_of_the_calls(encoder, monkeypatch):
    import torch

    def full(rows):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(encoder, "_forward", full)
    with pytest.raises(BackendError, match="out of memory"):
        encoder.states([[2, 3]])


def test_weights_that_lack_a_layer_are_refused(folder, tmp_path):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    lacking = {n: t for n, t in tensors.items() if "layer.1.output" not in n}
    save_file(lacking, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lack \d+ tensors"):
        load_torch_encoder(str(tmp_path), **SOURCE)
    pooler = {n: t for n, t in tensors.items() if not n.startswith("pooler")}
    save_file(pooler, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert np.isfinite(load_torch_encoder(str(tmp_path), **SOURCE).states([[2, 3]])[0]).all()


def test_files_are_read_and_damaged_ones_refused(folder, tmp_path):
    assert hub_reader(str(folder), None, None)("config.json")["hidden_size"] == 16
    assert hub_reader(str(folder), None, None)("absent.json") == {}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"config\.json of .* is damaged"):
        hub_reader(str(tmp_path), None, None)("config.json")
