"""Exported weights are found by their names; where there are none, the export is named."""

import json

import pytest

from rerank_plugins import ModelLoadError
from rerank_plugins.backends._onnx import files
from rerank_plugins.backends._onnx.files import Exported, find_exported


def with_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("there", "precision", "found"),
    [
        (["model.onnx"], "auto", "model.onnx"),
        (["onnx/model.onnx"], "auto", "onnx/model.onnx"),
        (["onnx/model.onnx", "onnx/model_quantized.onnx"], "auto", "onnx/model.onnx"),
        (["onnx/model.onnx", "onnx/model_quantized.onnx"], "int8", "onnx/model_quantized.onnx"),
        (["onnx/model_int8.onnx", "model_quantized.onnx"], "int8", "onnx/model_int8.onnx"),
        (["model_int8.onnx"], "auto", "model_int8.onnx"),
        (["onnx/model_fp16.onnx", "onnx/model_int8.onnx"], "auto", "onnx/model_int8.onnx"),
    ],
)
def test_the_hubs_usual_names(tmp_path, there, precision, found):
    exported = find_exported(str(with_files(tmp_path, *there)), precision)
    assert exported.weights == tmp_path / found
    assert exported.folder == tmp_path


@pytest.mark.parametrize(
    ("machine", "instructions", "found"),
    [
        ("x86_64", True, "model_qint8_avx512_vnni.onnx"),
        ("x86_64", False, "model_quint8_avx2.onnx"),
        ("AMD64", False, "model_quint8_avx2.onnx"),
        ("arm64", False, "model_qint8_arm64.onnx"),
        ("aarch64", False, "model_qint8_arm64.onnx"),
    ],
)
def test_eight_bits_for_this_processor(tmp_path, monkeypatch, machine, instructions, found):
    monkeypatch.setattr(files.platform, "machine", lambda: machine)
    monkeypatch.setattr(files, "_multiplies_bytes", lambda: instructions)
    names = ("qint8_arm64", "quint8_avx2", "qint8_avx512", "qint8_avx512_vnni")
    with_files(tmp_path, *(f"onnx/model_{name}.onnx" for name in names))
    assert find_exported(str(tmp_path), "int8").weights == tmp_path / "onnx" / found


@pytest.mark.parametrize(("config", "folder"), [("config.json", "."), ("onnx/config.json", "onnx")])
def test_a_file_may_be_named(tmp_path, config, folder):
    with_files(tmp_path, "onnx/model_O3.onnx", config)
    exported = find_exported(str(tmp_path / "onnx" / "model_O3.onnx"), "auto")
    assert exported.weights == tmp_path / "onnx" / "model_O3.onnx"
    assert exported.folder == tmp_path / folder


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelLoadError, match="there is no file"):
        find_exported(str(tmp_path / "model.onnx"), "auto")


@pytest.mark.parametrize(
    ("precision", "command"),
    [("auto", "export {} FOLDER`"), ("int8", "export {} FOLDER --precision int8`")],
)
def test_without_exported_weights_the_command_is_named(tmp_path, precision, command):
    with_files(tmp_path, "model.safetensors", "config.json")
    with pytest.raises(ModelLoadError, match="has no exported weights") as found:
        find_exported(str(tmp_path), precision)
    assert command.format(tmp_path) in str(found.value)


def test_values_beside_the_weights(tmp_path):
    exported = Exported("m", tmp_path / "model.onnx", tmp_path)
    assert exported.values("config.json") == {}
    with pytest.raises(ModelLoadError, match=r"'m' has exported weights and no config\.json"):
        exported.values("config.json", needed=True)
    for damaged in ("{", "[]", "[" * 100_000, "\udcff"):
        (tmp_path / "config.json").write_bytes(damaged.encode("utf-8", "surrogateescape"))
        with pytest.raises(ModelLoadError, match="damaged"):
            exported.values("config.json")
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    assert exported.values("config.json", needed=True) == {"a": 1}


SHA = "0" * 40


def in_cache(cache, *names):
    folder = cache / "models--org--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(SHA)
    return with_files(folder / "snapshots" / SHA, *names)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's client, with a cache of its own and no connection."""
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("huggingface_hub._snapshot_download")
    for module in (hub.constants, hub._snapshot_download.constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path))
    return hub


def test_without_a_connection_the_cache_will_do(hub, tmp_path):
    folder = in_cache(tmp_path, "onnx/model.onnx", "config.json")
    exported = find_exported("org/model", "auto")
    assert (exported.folder, exported.weights) == (folder, folder / "onnx" / "model.onnx")
    with pytest.raises(ModelLoadError, match="no exported weights of precision int8"):
        find_exported("org/model", "int8")


@pytest.mark.parametrize("name", ["org/other", "a/b/c", "no folder", "../up"])
def test_what_cannot_be_downloaded(hub, name):
    with pytest.raises(ModelLoadError, match="cannot load"):
        find_exported(name, "auto", token=lambda: "hf_secret")


def test_only_what_is_needed_is_downloaded(hub, tmp_path, monkeypatch):
    there = ["README.md", "config.json", "tokenizer.json", "tokenizer_config.json"]
    there += ["1_Pooling/config.json", "model.safetensors", "pytorch_model.bin", "vocab.txt"]
    there += ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_fp16.onnx"]
    asked = {}
    monkeypatch.setattr(hub.HfApi, "list_repo_files", lambda _, **source: there)

    def download(**options):
        asked.update(options)
        return str(with_files(tmp_path / "made", *options["allow_patterns"]))

    monkeypatch.setattr(hub, "snapshot_download", download)
    found = find_exported("org/model", "auto", revision="v1", token=lambda: "hf_secret")
    assert found.weights == tmp_path / "made" / "onnx" / "model.onnx"
    assert asked["revision"] == "v1"
    assert asked["token"] == "hf_secret"
    assert sorted(asked["allow_patterns"]) == [
        *["1_Pooling/config.json", "config.json", "onnx/model.onnx", "onnx/model.onnx_data"],
        *["tokenizer.json", "tokenizer_config.json", "vocab.txt"],
    ]
    assert asked["tqdm_class"](range(3)).disable
    with pytest.raises(ModelLoadError, match="precision int8"):
        find_exported("org/model", "int8")
