"""LoRA adapters: the folder of their two files. Merging is tested with real models."""

import pytest

from rerank_plugins import ModelLoadError
from rerank_plugins.backends._local.lora import CONFIG, adapter_folder


def test_an_adapter_is_a_folder_with_two_files(tmp_path):
    (tmp_path / CONFIG).write_text("{}")
    with pytest.raises(ModelLoadError, match=r"has no adapter_model\.safetensors"):
        adapter_folder(str(tmp_path), None)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    assert adapter_folder(str(tmp_path), None) == str(tmp_path)


def test_pickled_weights_are_never_read(tmp_path):
    (tmp_path / CONFIG).write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelLoadError, match="safetensors"):
        adapter_folder(str(tmp_path), None)


def test_an_adapter_that_does_not_exist(monkeypatch):
    def absent(*_args, **_options):
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", absent)
    with pytest.raises(ModelLoadError, match="there is no adapter 'some/adapter'"):
        adapter_folder("some/adapter", None)
