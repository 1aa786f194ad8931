"""First stages that a command makes: searched once, kept, never taken for another."""

import json

import click
import numpy as np
import pytest

from rerank_plugins import InputError
from rerank_plugins.cli import _first_stage
from rerank_plugins.cli._first_stage import cache_folder, found_runs, make_first_stage
from rerank_plugins.evaluation import Collection, bm25_scores, write_run

pytest.importorskip("bm25s")

COLLECTION = Collection(
    documents={"a": "one flea", "b": "two cats", "c": "one wolf, one flea"},
    queries={"q": "flea", "r": "cats", "s": "nothing known"},
    qrels={},
)
ENCODER = "an/encoder"


@pytest.fixture
def encoded(monkeypatch):
    """The texts that were encoded: as vectors that count the letter f."""
    seen = []

    def load_encoder(name):
        def encode(texts, role="passage"):
            assert role == ("query" if "flea" in texts else "passage")
            seen.extend(texts)
            return np.array([[t.count("f"), 0.1] for t in texts], dtype=np.float32)

        return encode

    monkeypatch.setattr(_first_stage, "load_encoder", load_encoder)
    return seen


def make(folder, name="bm25", collection=COLLECTION, depth=10, encoder=ENCODER):
    return make_first_stage(name, collection, folder, depth=depth, encoder=encoder)


def test_a_run_is_made_once(tmp_path, capsys, monkeypatch):
    run, scores = make(tmp_path)
    assert "Searching 3 documents with bm25" in capsys.readouterr().err
    expected = bm25_scores(COLLECTION)
    assert run == {"q": list(expected["q"]), "r": ["b"]}  # the third finds nothing
    assert scores["q"] == expected["q"]
    monkeypatch.setattr(_first_stage, "bm25_scores", None)  # it would fail
    assert make(tmp_path) == (run, scores)
    assert capsys.readouterr().err == ""


def test_what_made_it_stands_beside_it(tmp_path):
    make(tmp_path, depth=7)
    (settings,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert (settings["first_stage"], settings["depth"]) == ("bm25", 7)
    assert (settings["k1"], settings["b"]) == (0.9, 0.4)
    assert settings["stemmer"] == "english"


def test_another_setting_or_collection_is_another_run(tmp_path, encoded):
    other = Collection(
        documents={**COLLECTION.documents, "d": "horses"}, queries={"q": "horse"}, qrels={}
    )
    fewer = Collection(documents=COLLECTION.documents, queries={"q": "flea"}, qrels={})
    for changed in ({}, {"depth": 1}, {"collection": other}, {"collection": fewer}):
        make(tmp_path, **changed)
    for encoder in ("one", "two"):
        make(tmp_path, "dense", encoder=encoder)
    assert len(list(tmp_path.glob("*.trec.gz"))) == 6
    assert len(make(tmp_path, depth=1)[0]["q"]) == 1


def test_an_encoder_s_folder_with_other_files_is_another_encoder(tmp_path, encoded):
    model = tmp_path / "model"
    model.mkdir()
    for weights in ("old", "new"):
        (model / "weights").write_text(weights)
        make(tmp_path / "kept", "dense", encoder=str(model))
    assert len(list((tmp_path / "kept").glob("*.trec.gz"))) == 2


def test_texts_are_encoded_once(tmp_path, encoded):
    run, scores = make(tmp_path, "dense", depth=2)
    assert run["q"] == ["c", "a"]
    assert scores["q"]["c"] > scores["q"]["a"]
    assert len(encoded) == 3 + 3
    make(tmp_path, "dense", depth=2)
    assert len(encoded) == 6  # the run is kept
    make(tmp_path, "dense", depth=3)
    assert encoded.count("one flea") == 2  # the index is kept too, and checked by one text


def test_nothing_found_is_said(tmp_path):
    unknown = Collection(documents={"a": "one"}, queries={"q": "two"}, qrels={})
    with pytest.raises(InputError, match="bm25 finds no document for any query"):
        make(tmp_path, collection=unknown)
    assert not list(tmp_path.glob("*.trec.gz"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"):
        make(tmp_path / "file" / "kept")


OPTIONS = {"depth": 10, "first_stage_depth": 5, "encoder": ENCODER, "cache": None}


def test_runs_are_those_of_first_stages_and_then_those_of_files(tmp_path):
    write_run(tmp_path / "mine.trec", {"q": ["b"]})
    options = {**OPTIONS, "output": str(tmp_path / "results"), "scored": True}
    found, scores = found_runs(
        COLLECTION, [str(tmp_path / "mine.trec")], first_stages=["bm25"], **options
    )
    assert list(found) == ["bm25", "mine"]
    assert scores["q"] == bm25_scores(COLLECTION)["q"]
    assert len(list((tmp_path / "results" / "first_stage").glob("bm25-*.trec.gz"))) == 1
    found, scores = found_runs(
        COLLECTION, [str(tmp_path / "mine.trec")], first_stages=[], **options
    )
    assert (found, scores) == ({"mine": {"q": ["b"]}}, {"q": {"b": 1.0}})


def test_runs_that_cannot_be_told_apart_and_no_run(tmp_path):
    write_run(tmp_path / "bm25.trec", {"q": ["b"]})
    options = {**OPTIONS, "output": str(tmp_path), "scored": False}
    with pytest.raises(InputError, match="two of the runs have the name 'bm25'"):
        found_runs(COLLECTION, [str(tmp_path / "bm25.trec")], first_stages=["bm25"], **options)
    with pytest.raises(click.UsageError, match="Give --first-stage bm25, or --run"):
        found_runs(COLLECTION, [], first_stages=[], **options)


def test_the_cache_is_the_user_s(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rerank-plugins" / "first_stage"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/x")
    assert str(cache_folder()) == "/home/x/.cache/rerank-plugins/first_stage"
