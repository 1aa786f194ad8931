"""``--json`` of every command: one object, with the keys that the documents name."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rerank_plugins.cli import build
from rerank_plugins.cli._feedback import feedback_numbers
from rerank_plugins.cli._judge import Judged, judged_numbers

PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"
OPEN = {
    *("usage", "measures", "changes", "grades", "report", "not_compared", "strategy", "backend"),
    *("calls", "skipped"),
}
"""Keys whose values have keys of their own, or the caller's."""


def documented():
    """The keys of each command, by the table of the documents."""
    text = PAGE.read_text("utf-8").partition("## For scripts")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    return {row[1].strip(" `"): set(re.findall(r"`(\w+)`", row[2])) for row in rows}


def keys(value):
    """All keys of an answer, apart from those inside of `OPEN`."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(inner) for key, inner in value.items() if key not in OPEN))


def test_every_command_with_the_option_is_documented():
    having = {
        name
        for name, command in build().commands.items()
        if any("--json" in option.opts for option in command.params)
    }
    assert having == set(documented())


def answer(*arguments):
    found = CliRunner().invoke(build(), [str(word) for word in arguments])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture
def said(collection, spec, tmp_path, requests):
    """The answer of a command that needs no model."""
    runs = (collection / "bad.trec", collection / "good.trec")
    of_run = ("--collection", collection, "--run", runs[0])
    given = {
        "rank": (requests, tmp_path / "out.jsonl", "--reranker", spec),
        "evaluate": (collection, "--run", runs[0], "--run", runs[1], "--reranker", spec),
        "compare": (*runs, "--collection", collection),
        "explain": ("q1", *of_run, "--reranker", spec),
        "bench": ("--reranker", spec, "--passages", "2,3", "--repeat", "1"),
    }
    return lambda name: answer(name, *given[name], "--json")


@pytest.mark.parametrize("name", ["rank", "evaluate", "compare", "explain", "bench"])
def test_the_keys_are_those_of_the_documents(said, name):
    assert keys(said(name)) == documented()[name]


def test_the_keys_of_models():
    described = keys(answer("models", "--json"))
    one = keys(answer("models", "Alibaba-NLP/ERank-4B", "--json"))
    assert described | one == documented()["models"]


def test_the_keys_of_a_judge():
    judged = Judged(qrels={"q": {"a": 1}}, synthetic="x", unreadable=0, failed=0, usage=None)
    assert keys(judged_numbers(judged)) == documented()["judge"]


def test_the_keys_of_feedback():
    measure = pytest.importorskip("rerank_plugins.feedback.measure")
    row = measure.Comparison(
        query="q", before=0.5, after=1.0, control=0.5, fused=0.75, angle=10.0, skipped="equal"
    )
    found = feedback_numbers([row], "R@10")
    assert keys(found) | {"synthetic"} == documented()["feedback"]
    assert found["skipped"] == {"equal": 1}


def test_the_keys_of_prepare_and_export():
    """Their own tests have the same keys: here there is no model."""
    assert documented()["prepare"] == {"passages", "seconds", "bytes"}
    assert documented()["export"] == {"folder", "kind", "precision", "bytes", "distance"}


def test_the_keys_of_batch_and_train():
    ray = pytest.importorskip("rerank_plugins.jobs.ray")
    assert set(ray.DatasetCounts.__slots__) == documented()["batch"]
    training = pytest.importorskip("rerank_plugins.training")
    from rerank_plugins.cli._train import trained_numbers

    names = ("steps", "loss", "ndcg", "ndcg_before", "skipped", "folder")
    trained = type("Trained", (), dict.fromkeys(names, 1))()
    assert hasattr(training, "Trained")
    assert keys(trained_numbers(trained)) == documented()["train"]
