"""Exported folders: loaded by name, written whole or not at all."""

import json

import pytest
import tiny_exports
import tiny_models

import rerank_plugins.backends
from rerank_plugins import InputError, ModelLoadError, Reranker, load_reranker
from rerank_plugins.backends import CrossEncoderBackend, OnnxCrossEncoderBackend
from rerank_plugins.presets import export_model, saved_parts, write_saved
from rerank_plugins.strategies import PairScore

pytest.importorskip("torch")
pytest.importorskip("onnx")

PASSAGES = ["a very good cat", "life of a flea", "sea"]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    tiny_models.bert(tiny_exports.WORDS, folder, num_labels=1, initializer_range=0.3)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_exported_cross_encoder_loads_by_its_folder(source, tmp_path, precision):
    made = export_model(source, tmp_path / "new" / "out", precision=precision)
    assert (made.kind, made.folder) == ("cross-encoder", tmp_path / "new" / "out")
    reranker = load_reranker(made.folder)
    assert isinstance(reranker.backend, OnnxCrossEncoderBackend)
    found = reranker.rank("life of a flea", PASSAGES)
    assert sorted(found.order) == [0, 1, 2]
    assert "exported" in (made.folder / "README.md").read_text()
    assert [path.name for path in made.folder.parent.iterdir()] == ["out"]


def test_how_it_was_trained_goes_along(source, tmp_path):
    """The strategy, the limit and the templates of the model that was exported."""
    backend = {"name": "cross-encoder", "model": ".", "max_tokens": 12}
    forms = {"query_template": "query : {query}", "passage_template": "document : {passage}"}
    write_saved(source, PairScore(titled="{title} : {passage}"), backend | forms, {})
    made = export_model(source, tmp_path / "out")
    strategy, backend = saved_parts(made.folder)
    assert strategy["titled"] == "{title} : {passage}"
    assert backend == {
        "name": "onnx-cross-encoder",
        "model": str(made.folder),
        "max_tokens": 12,
        **forms,
    }
    scores = load_reranker(made.folder).rank("flea", PASSAGES).scores
    right = CrossEncoderBackend(source, max_tokens=12, **forms)
    expected = Reranker(PairScore(), right).rank("flea", PASSAGES).scores
    assert scores == pytest.approx(expected, abs=1e-4)


def test_an_encoder(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    tiny_models.bert(tiny_exports.WORDS, source, "BertModel")
    made = export_model(source, tmp_path / "out")
    assert made.kind == "encoder"
    assert made.distance < 1e-3
    ranking = load_reranker(made.folder).rank("life of a flea", PASSAGES)
    assert ranking.score_kind == "similarity"
    assert ranking.order[0] == 1


def test_a_folder_with_files_is_kept(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("kept")
    for target in (out, out / "mine"):
        with pytest.raises(InputError, match="holds files"):
            export_model(source, target)
    assert (out / "mine").read_text() == "kept"
    with pytest.raises(InputError, match="cannot write"):
        export_model(source, out / "mine" / "below")


def test_an_empty_folder_is_taken(source, tmp_path):
    (tmp_path / "out").mkdir()
    assert export_model(source, tmp_path / "out").kind == "cross-encoder"
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_nothing_is_left_of_one_that_failed(source, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ModelLoadError("no")

    monkeypatch.setattr(rerank_plugins.backends, "export_weights", fail)
    with pytest.raises(ModelLoadError):
        export_model(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_bad_arguments_are_refused(source, tmp_path):
    with pytest.raises(InputError, match="precision is 'fp16'"):
        export_model(source, tmp_path / "out", precision="fp16")
    with pytest.raises(ModelLoadError, match="'castorini/first_mistral' runs on the backend"):
        export_model("castorini/first_mistral", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_may_not_say_more(source, tmp_path):
    made = export_model(source, tmp_path / "out")
    path = made.folder / "reranker.json"
    stated = json.loads(path.read_text())
    for name, value in {"query_template": 5, "token": "t", "device": "cuda"}.items():
        changed = {**stated, "backend": {**stated["backend"], name: value}}
        path.write_text(json.dumps(changed))
        with pytest.raises(ModelLoadError):
            load_reranker(made.folder)
