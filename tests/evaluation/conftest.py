"""A small collection, rerankers that need no model, and the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from warm_command import STRICT, warm_command

PASSAGES = 12


@pytest.fixture(scope="session")
def warm():
    """The words that start ``rerank-plugins`` with its imports done."""
    with warm_command() as words:
        yield words


@pytest.fixture
def command(tmp_path, warm):
    """Runs ``rerank-plugins`` as a process of its own, in a folder of its own."""
    cold = [sys.executable, *STRICT, "-m", "rerank_plugins.cli"]

    def run(*arguments, **options):
        return subprocess.run(
            [*(cold if "preexec_fn" in options else warm), *map(str, arguments)],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            **{"text": True, **options},
        )

    return run


@pytest.fixture
def spec(tmp_path):
    """A reranker that knows the right order of its own: FIRST over an oracle."""
    return write_spec(tmp_path / "oracle.json", {"name": "oracle", "remember": False})


def write_spec(path: Path, backend, strategy=None, **more) -> Path:
    chosen = strategy or {"name": "sliding-window", "size": 4, "stride": 2, "inner": "single-token"}
    path.write_text(json.dumps({"strategy": chosen, "backend": backend, **more}))
    return path


def row(i: int, n: int = PASSAGES):
    candidates = [{"id": f"d{j}", "text": f"text {j} of {i}"} for j in range(n)]
    return {"query_id": f"q{i}", "query": f"query {i}", "candidates": candidates}


@pytest.fixture
def requests(tmp_path):
    """Thirty queries as JSON Lines; of some there is little to rank."""
    sizes = {3: 0, 4: 1, 5: 4}
    rows = [row(i, sizes.get(i, PASSAGES)) for i in range(30)]
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


@pytest.fixture
def collection(tmp_path):
    """Ten queries over forty documents, and two runs: ``bad.trec`` and ``good.trec``."""
    root = tmp_path / "collection"
    (root / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{j}", "title": f"T{j}", "text": f"text <b>{j}</b>"} for j in range(40)]
    queries = [{"_id": f"q{i}", "text": f"query <i>{i}</i> & more text"} for i in range(10)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    judged = [f"q{i}\td{i + j}\t{2 - j}" for i in range(10) for j in range(3)]
    (root / "qrels" / "test.tsv").write_text("\n".join(["query\tdocument\tgrade", *judged]) + "\n")
    for name, step in (("bad", -1), ("good", 1)):
        found = {f"q{i}": [f"d{j}" for j in range(i, i + 20)][::step] for i in range(10)}
        lines = [
            f"{q} Q0 {d} {rank} {-rank} {name}\n"
            for q, ids in found.items()
            for rank, d in enumerate(ids, start=1)
        ]
        (root / f"{name}.trec").write_text("".join(lines))
    return root
