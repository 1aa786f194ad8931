"""``rerank-plugins rank``: the format of its output, and the policy for errors."""

import json

import pytest
from click.testing import CliRunner

from rerank_plugins import BackendError, InputError
from rerank_plugins.cli import _rank
from rerank_plugins.cli._rank import rank
from rerank_plugins.reranker import Reranker
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Failing, Oracle

ROW = json.dumps({"query_id": "q", "query": "flea", "passages": ["a", "a flea"]}) + "\n"


def call(monkeypatch, backend, *arguments):
    reranker = Reranker(PairScore(), backend)
    monkeypatch.setattr(_rank, "named_reranker", lambda name, **_: reranker)
    return CliRunner().invoke(rank, [*map(str, arguments), "--reranker", "x"], input=ROW)


@pytest.mark.parametrize(
    ("name", "option", "first"),
    [
        ("o.jsonl", None, '{"query_id": "q"'),
        ("o.ndjson", None, '{"query_id": "q"'),
        ("o.trec", None, "q Q0 1 1 "),
        ("o", None, "q Q0 1 1 "),
        ("o.trec", "jsonl", '{"query_id": "q"'),
        ("o.jsonl", "trec", "q Q0 1 1 "),
    ],
)
def test_the_format(monkeypatch, tmp_path, name, option, first):
    monkeypatch.chdir(tmp_path)
    backend = Oracle(key=lambda query, passage: len(passage))
    options = ("--format", option) if option else ()
    found = call(monkeypatch, backend, "-", name, *options)
    assert found.exit_code == 0, found.output
    assert (tmp_path / name).read_text().startswith(first)
    assert found.stdout.startswith("ranked 1, skipped as finished 0, fell back 0; 2 calls, ")


def test_standard_output_is_json_lines_and_the_summary_goes_elsewhere(monkeypatch):
    found = call(monkeypatch, Oracle(), "-", "--json")
    assert json.loads(found.stdout)["query_id"] == "q"
    assert json.loads(found.stderr)["ranked"] == 1


def test_what_fails_keeps_its_order_and_the_exit_code_is_3(monkeypatch):
    broken = Failing(lambda: BackendError("down"))
    found = call(monkeypatch, broken, "-", "--on-error", "keep_order")
    assert found.exit_code == 3
    assert [p["position"] for p in json.loads(found.stdout)["ranking"]] == [0, 1]
    assert isinstance(call(monkeypatch, broken, "-").exception, BackendError)


def test_options_and_files_that_do_not_fit(monkeypatch):
    found = call(monkeypatch, Oracle(), "-", "--depth", 3)
    assert "--depth is for runs. Give --collection too." in str(found.exception)
    found = call(monkeypatch, Oracle(), "none.jsonl")
    assert isinstance(found.exception, InputError)
    assert "cannot read 'none.jsonl'" in str(found.exception)


def test_fewer_passages_where_fewer_are_relevant(monkeypatch, tmp_path):
    backend = Oracle(key=lambda query, passage: len(passage))
    found = call(monkeypatch, backend, "-", tmp_path / "o.jsonl", "--score-threshold", 5)
    assert found.exit_code == 0, found.output
    row = json.loads((tmp_path / "o.jsonl").read_text())
    assert [line["id"] for line in row["ranking"]] == ["1"], row
    again = call(monkeypatch, backend, "-", tmp_path / "o.jsonl", "--cut-at-gap")
    assert isinstance(again.exception, InputError)  # another cut is another file
    found = call(monkeypatch, backend, "-", tmp_path / "o.trec", "--cut-at-gap")
    assert "JSON Lines" in str(found.exception)


def test_long_passages_are_judged_by_chunks(monkeypatch, tmp_path):
    backend = Oracle(key=lambda query, passage: len(passage))
    found = call(monkeypatch, backend, "-", "-", "--chunk-words", 1)
    assert found.exit_code == 0, found.output
    assert len(backend.asked) == 3
