"""``rerank-plugins calibrate``: scores become probabilities, and a spec."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rerank_plugins import load_reranker
from rerank_plugins.cli._commands import commands
from rerank_plugins.strategies import BestChunk, Calibrated, PairScore, Pointwise

MODEL = {"strategy": "pair-score", "backend": {"name": "oracle", "seed": 3, "noise": 0.0}}


@pytest.fixture
def folder(tmp_path):
    """Twelve queries, each with four documents; the judgements differ."""
    (tmp_path / "qrels").mkdir()
    documents = [f"document {i} of some words" for i in range(16)]
    (tmp_path / "corpus.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"d{i}", "title": "", "text": text}) + "\n"
            for i, text in enumerate(documents)
        )
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{i}", "text": f"query {i}"}) + "\n" for i in range(12))
    )
    reranker, lines, run = load_reranker(MODEL), [], []
    for q in range(12):
        mine = [documents[(q + i) % 16] for i in range(4)]
        best = reranker.rank(f"query {q}", mine).order
        relevant = best[0] if q % 4 else best[1]  # the model errs for every fourth query
        lines.append(f"q{q}\td{(q + relevant) % 16}\t1\n")
        run += [f"q{q} Q0 d{(q + i) % 16} {i + 1} {9 - i} x\n" for i in range(4)]
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    (tmp_path / "first.trec").write_text("".join(run))
    return tmp_path


def called(folder, *options, model=MODEL):
    arguments = ["calibrate", folder, "--run", folder / "first.trec", "--folds", 3, *options]
    given = json.dumps(model) if isinstance(model, dict) else model
    return CliRunner().invoke(commands, [*map(str, arguments), "--reranker", str(given)])


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_the_written_spec_is_the_calibrated_reranker(folder, name):
    found = called(folder, "--output", folder / name)
    assert found.exit_code == 0, found.output
    assert "12 queries, 48 passages, 25.0% relevant" in found.output
    reranker = load_reranker(folder / name)
    assert isinstance(reranker.strategy, Calibrated)
    assert reranker.strategy.inner == PairScore()
    ranking = reranker.rank("query 1", ["document 1 of some words", "another"])
    assert ranking.score_kind == "probability"


def test_the_numbers_as_json(folder):
    found = called(folder, "--json")
    assert found.exit_code == 0, found.output
    numbers = json.loads(found.stdout)
    assert (numbers["queries"], numbers["passages"], numbers["left_out"]) == (12, 48, 0)
    documents = Path(__file__).parents[3] / "docs" / "evaluate.md"
    (row,) = [line for line in documents.read_text().splitlines() if "| `calibrate` |" in line]
    documented = set(re.findall(r"`(\w+)`", row)) - {"calibrate"}
    assert documented == {*numbers, *numbers["after"]}
    assert numbers["relevant"] == 0.25
    assert numbers["constant"] == pytest.approx(0.25 * 0.75)
    assert numbers["after"]["brier"] < numbers["before"]["brier"]
    assert numbers["without_places"] is None
    assert numbers["spec"]["strategy"]["name"] == "calibrated"
    assert numbers["before"]["ndcg"] == numbers["after"]["ndcg"]  # the order is the model's


def test_a_calibrated_reranker_is_fitted_anew(folder):
    once = json.loads(called(folder, "--json").stdout)
    again = json.loads(called(folder, "--json", model=once["spec"]).stdout)
    assert again["spec"] == once["spec"]
    assert again["spec"]["strategy"]["inner"]["name"] == "pair-score"
    assert again["after"] == once["after"]
    assert again["before"]["mean"] == pytest.approx(0.25, abs=0.06)  # its own probabilities


def test_places_are_fitted_where_asked(folder):
    numbers = json.loads(called(folder, "--json", "--places", "fit").stdout)
    kept = json.loads(called(folder, "--json", model=numbers["spec"]).stdout)
    weight = [found["fitted"]["places"] / found["fitted"]["slope"] for found in (numbers, kept)]
    assert weight[0] == pytest.approx(weight[1], rel=1e-3)
    none = json.loads(called(folder, "--json", "--places", "none", model=numbers["spec"]).stdout)
    assert none["fitted"]["places"] == 0.0


def test_chunks_are_part_of_the_spec(folder):
    found = called(folder, "--chunk-words", 50, "--output", folder / "c.json")
    assert found.exit_code == 0, found.output
    strategy = load_reranker(folder / "c.json").strategy
    assert strategy.inner == BestChunk(PairScore(), words=50)


def test_an_instruction_is_part_of_the_spec(folder):
    asked = MODEL | {"strategy": "pointwise"}
    told = ("--instruction", "Find fleas.")
    found = called(folder, *told, "--output", folder / "c.json", model=asked)
    assert found.exit_code == 0, found.output
    strategy = load_reranker(folder / "c.json").strategy
    assert strategy.inner == Pointwise(instruction="Find fleas.")
    refused = called(folder, *told)
    assert "PairScore has no place for an instruction" in str(refused.exception)


def test_another_lowest_grade(folder):
    assert "none is relevant" in str(called(folder, "--min-grade", 2).exception)


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        (["--folds", 7], MODEL, "too few"),
        (["--folds", 1], MODEL, "folds"),
        (["--output", "c.txt"], MODEL, ".json or .yaml"),
        ([], MODEL | {"strategy": "permutation"}, "only number the places"),
        ([], MODEL | {"strategy": {"name": "hybrid", "inner": "pair-score"}}, "within one list"),
        ([], MODEL | {"strategy": "attention-score"}, "within one list"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(folder, options, model, said):
    assert said in str(called(folder, *options, model=model).exception)
