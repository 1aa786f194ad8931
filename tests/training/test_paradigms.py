"""The recipe that trains one model in several ways and measures them, on a tiny model."""

import gzip
import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers")

RECIPES = Path(__file__).parents[2] / "models" / "recipes"
TEXTS = ("a dog sleeps", "the flea lives two months", "a wolf hunts", "the sea", "a very good cat")
QUERIES = {"1": "how long lives a flea ?", "2": "a wolf"}
RELEVANT = {"1": "1", "2": "2"}
COSTS = ("calls", "prompt_tokens", "seconds")


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    spec = importlib.util.spec_from_file_location("recipe_paradigms", RECIPES / "paradigms.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SHIPPED", {})
    monkeypatch.setattr(module, "COLLECTIONS", ("dl19",))
    return module


@pytest.fixture
def given(recipe, tmp_path, monkeypatch):
    """The collections, the lists and a budget of two steps for each row."""
    from licences import write_licensed

    from rerank_plugins.training import TrainingList

    for name in recipe.COLLECTIONS:
        folder = tmp_path / "data" / "beir" / name
        (folder / "qrels").mkdir(parents=True)
        (folder / "runs").mkdir()
        rows = [{"_id": str(i), "title": "", "text": text} for i, text in enumerate(TEXTS)]
        write(folder / "corpus.jsonl.gz", map(json.dumps, rows))
        write(
            folder / "queries.jsonl.gz",
            (json.dumps({"_id": key, "text": text}) for key, text in QUERIES.items()),
        )
        judged = "".join(f"{query}\t{document}\t1\n" for query, document in RELEVANT.items())
        (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
        run = (f"{q} Q0 {i} {i + 1} {9 - i} bm25" for q in QUERIES for i in range(len(TEXTS)))
        write(folder / "runs" / "bm25.trec.gz", run)
    lists, out = tmp_path / "lists", tmp_path / "out"
    lists.mkdir()
    out.mkdir()
    made = [
        TrainingList(text, TEXTS, labels, teacher=tuple(4.0 * x - 1 for x in labels))
        for text in QUERIES.values()
        for labels in [tuple(float(str(i) == RELEVANT["1"]) for i in range(len(TEXTS)))]
    ]
    write_licensed([(one, "MIT (A)") for one in made], lists / "questions.train.jsonl.gz")
    for name in recipe.ROWS:
        (out / f"{name}.steps.json").write_text('{"steps": 2}')
    monkeypatch.setenv("RERANK_PLUGINS_DATA", str(tmp_path / "data"))
    return lists, out


def write(path, lines):
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def test_every_row_is_trained_and_measured_once(recipe, given, llama_folder, monkeypatch):
    lists, out = given
    rows = ["first", "grades", "cross-encoder", "late"]  # other tests train the rest
    arguments = ["paradigms.py", llama_folder, lists, "--out", out, "--words", 20, "--rows", *rows]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    recipe.main()
    found = json.loads((out / "measured.json").read_text())
    untrained = set(rows) - {"cross-encoder"}  # a new head is random
    keys = {*untrained, *(f"{name}+" for name in rows)}
    assert set(found) == {f"{key} {name}" for key in keys for name in recipe.COLLECTIONS}
    one = found["first dl19"]
    assert (one["queries"], one["calls"]) == (2, 1)
    assert one["first"] == pytest.approx((0.63093 + 0.5) / 2, abs=1e-4)
    assert found["late+ dl19"]["calls"] == found["late dl19"]["calls"] == len(TEXTS)
    assert all(figures[name] > 0 for figures in found.values() for name in COSTS)
    noted = {name: json.loads((out / f"{name}.trained.json").read_text()) for name in rows}
    assert all((one["steps"], one["lists"]) == (2, 2) for one in noted.values())

    monkeypatch.setattr(recipe, "train", None)  # neither is done again
    monkeypatch.setattr(recipe, "figures", None)
    recipe.main()
