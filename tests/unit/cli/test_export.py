"""``rerank-plugins export``: a folder that needs no torch, or one line that says why not."""

import json

import pytest
import tiny_exports
import tiny_models

pytest.importorskip("torch")
pytest.importorskip("onnx")
testing = pytest.importorskip("click.testing")


@pytest.fixture
def export():
    from rerank_plugins.cli import build

    return lambda *arguments: testing.CliRunner().invoke(build(), ["export", *map(str, arguments)])


def test_a_model_is_exported(export, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    tiny_models.bert(tiny_exports.WORDS, source, num_labels=1, initializer_range=0.3)
    found = export(source, tmp_path / "out", "--precision", "int8")
    assert found.exit_code == 0, found.output
    assert f"{tmp_path / 'out'}: cross-encoder, int8, " in found.output
    assert (tmp_path / "out" / "model_int8.onnx").is_file()
    said = json.loads(export(source, tmp_path / "again", "--json").output)
    assert said["folder"] == str(tmp_path / "again")
    assert said.keys() == {"folder", "kind", "precision", "bytes", "distance"}


def test_what_is_wrong_is_said(export, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert "holds files" in str(export("m", tmp_path / "out").exception)
    assert export("m", tmp_path / "new", "--precision", "fp8").exit_code == 2
