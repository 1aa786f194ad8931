"""Every command of the documents and of ``--help``: run, or at least understood."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from rerank_plugins.cli import build

ROOT = Path(__file__).parent.parent.parent
ELSEWHERE = {  # commands that are not run here: why, and where they are
    "batch": ("it starts a cluster", "tests/batch/test_batch.py"),
    "calibrate": ("it needs more judged queries", "tests/unit/cli/test_calibrate.py"),
    "export": ("it loads a checkpoint of the hub", "tests/unit/cli/test_export.py"),
    "feedback": ("it encodes a collection", "tests/unit/cli/test_feedback.py"),
    "heads": ("it reads a model's attention", "tests/unit/cli/test_heads.py"),
    "serve": ("it never ends", "tests/serving/test_process.py"),
    "train": ("it takes minutes", "tests/training/test_cli.py"),
}
GROUP = build()


def documented():
    """Commands of the documents: indented lines, joined where one ends with a backslash."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = re.sub(r" \\\n\s+", " ", page.read_text("utf-8"))
        found += re.findall(
            r"^    ((?:\S.* )?rerank-plugins [a-z]+(?: .*)?)$", text, flags=re.MULTILINE
        )
    for name, command in GROUP.commands.items():
        text = re.sub(r" \\\n\s+", " ", command.help)
        found += re.findall(rf"^ *(rerank-plugins {name} .*)$", text, flags=re.MULTILINE)
    return list(dict.fromkeys(" ".join(line.split()) for line in found))


def words_of(line):
    """The arguments behind ``rerank-plugins``."""
    words = shlex.split(line.partition("rerank-plugins ")[2], comments=True)
    return words[: words.index(">")] if ">" in words else words


def test_there_are_some():
    assert {words_of(line)[0] for line in documented()} == set(GROUP.commands)
    assert len(documented()) > 25
    assert any("texts.txt" in line for line in documented())  # from a --help


def in_prose():
    """Commands between backticks; ``...`` stands for more, and capitals for names."""
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    found = [
        re.findall(r"`(rerank-plugins [a-z]+ [^`]+)`", page.read_text("utf-8")) for page in pages
    ]
    return sorted({" ".join(line.split()) for lines in found for line in lines})


@pytest.mark.parametrize("line", [*documented(), *in_prose()])
def test_its_options_are_there(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *arguments = words_of(line)
    for word in ("queries.jsonl", "reranker.yaml"):
        (tmp_path / word).touch()
    for word in ("FOLDER", "scifact"):
        (tmp_path / word).mkdir()
    GROUP.commands[name].make_context(name, arguments)


@pytest.fixture
def place(tmp_path, collection, spec):
    """A folder with what the documents speak of; the model of checkpoints is an oracle."""
    (tmp_path / "scifact").symlink_to(collection)
    graded = "query\tdocument\tgrade\tsynthetic: a model\nq1\td1\t2\n"
    (collection / "qrels" / "judged.tsv").write_text(graded)
    judged = (collection / "qrels" / "test.tsv").read_text()
    (collection / "qrels" / "train.tsv").write_text(judged)
    dl19 = tmp_path / "dl19"
    dl19.mkdir()
    for file in collection.iterdir():
        if file.suffix == ".jsonl":
            (dl19 / file.name).write_text(file.read_text().replace('"q1"', '"264014"'))
    (dl19 / "qrels").mkdir()
    qrels = (collection / "qrels" / "test.tsv").read_text()
    (dl19 / "qrels" / "test.tsv").write_text(re.sub(r"(?m)^q1\t", "264014\t", qrels))
    (tmp_path / "bm25.trec").write_text((collection / "bad.trec").read_text())
    scores = [(f"t{q}", f"d{k}", k, 9 - k - q % 3 * (k > 1)) for q in range(10) for k in (1, 2, 3)]
    run = "".join(f"{q} Q0 {d} {rank} {score} x\n" for q, d, rank, score in scores)
    (tmp_path / "bm25.train.trec").write_text(run)
    (tmp_path / "bm25.test.trec").write_text((collection / "bad.trec").read_text())
    for name in ("reranker.yaml", "spec.yaml", "first_mistral.yaml"):
        (tmp_path / name).write_text(spec.read_text())
    (tmp_path / "texts.txt").write_text("Cats sleep.\nA flea lives for weeks.\n")
    rows = [{"query_id": i, "query": f"query {i}", "passages": ["a", "b"]} for i in range(3)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = tmp_path / "results" / "runs"
    results.mkdir(parents=True)
    (results / "first_mistral.trec").write_text((collection / "good.trec").read_text())
    return tmp_path


def runnable():
    """Those that run here; collections of ``ir_datasets`` are downloaded."""
    return [
        line for line in documented() if words_of(line)[0] not in ELSEWHERE and "irds:" not in line
    ]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_one_that_is_not_run_here_is_run_there(name):
    reason, file = ELSEWHERE[name]
    assert reason
    assert name in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize("line", runnable())
def test_it_runs(line, place, warm):
    text = line.replace("castorini/first_mistral", "first_mistral.yaml")
    text = text.replace("--reranker tuned", "--reranker reranker.yaml")
    if "evaluate" in text:
        (place / "results" / "runs" / "first_mistral.trec").unlink()
    if "--reranked" in text:
        (place / "reranked.trec").write_text((place / "bm25.test.trec").read_text())
    if "--collection dl19" in text:
        run = place / "bm25.trec"
        run.write_text(re.sub(r"(?m)^q1 ", "264014 ", run.read_text()))
    command = ["bash", "-c", text.replace("rerank-plugins", shlex.join(warm))]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert found.returncode == 0, found.stderr


def test_an_option_that_is_not_there_would_be_noticed():
    with pytest.raises(click.NoSuchOption):
        GROUP.commands["rank"].make_context("rank", ["a", "b", "--rerankers", "x"])
