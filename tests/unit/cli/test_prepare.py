"""``rerank-plugins prepare``: a collection's passages, once, in a file."""

import json

import pytest
import tiny_models
from click.testing import CliRunner

from rerank_plugins import InputError, Passage, Reranker
from rerank_plugins.backends import LateInteractionBackend, TokenVectors
from rerank_plugins.cli._prepare import passages_of, prepare

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "flea", "sea", "of"]


@pytest.fixture
def spec(tmp_path):
    """A spec file of a reranker with a tiny encoder."""
    (tmp_path / "encoder").mkdir()
    tiny_models.bert(WORDS, tmp_path / "encoder", "BertModel")
    backend = {"name": "late-interaction", "model": str(tmp_path / "encoder")}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"strategy": "pair-score", "backend": backend}))
    return path


def test_a_file_of_passages_becomes_a_file_of_vectors(tmp_path, spec):
    rows = [{"text": "a cat"}, {"title": "sea", "text": "of flea"}, {"text": "a cat"}]
    (tmp_path / "p.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = tmp_path / "out.vectors"
    given = [str(tmp_path / "p.jsonl"), str(out), "--reranker", str(spec)]
    found = CliRunner().invoke(prepare, given)
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("2 passages in ")
    said = json.loads(CliRunner().invoke(prepare, [*given, "--json"]).stdout)
    assert said.keys() == {"passages", "seconds", "bytes"}
    assert said["passages"] == 2
    backend = LateInteractionBackend(tmp_path / "encoder", prepared=out)
    ranking = Reranker("pair-score", backend).rank(
        "flea", [Passage("a cat"), Passage("of flea", title="sea")]
    )
    assert ranking.usage.prompt_tokens == 3  # the query's
    assert "sea of flea" in TokenVectors.load(out)


def test_a_collection_is_read(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "title": "T", "text": "a"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "b"}\n')
    assert list(passages_of(str(tmp_path))) == ["T a"]


@pytest.mark.parametrize("row", [{"title": "a"}, {"text": 1}, {"text": "a", "title": 2}])
def test_rows_without_a_text_are_refused(tmp_path, row):
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="line 1"):
        list(passages_of(str(tmp_path / "p.jsonl")))


def test_a_reranker_that_reads_pairs_is_refused(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"text": "a"}')
    (tmp_path / "spec.json").write_text('{"strategy": "pair-score", "backend": "constant"}')
    given = [str(tmp_path / "p.jsonl"), str(tmp_path / "o"), "--reranker"]
    found = CliRunner().invoke(prepare, [*given, str(tmp_path / "spec.json")])
    assert "cannot encode passages without a query" in str(found.exception)


def test_the_collection_is_not_overwritten(tmp_path, spec):
    rows = '{"text": "a cat"}\n'
    (tmp_path / "p.jsonl").write_text(rows)
    given = [str(tmp_path / "p.jsonl"), f"{tmp_path}/./p.jsonl", "--reranker", str(spec)]
    found = CliRunner().invoke(prepare, given)
    assert isinstance(found.exception, InputError)
    assert "p.jsonl', the collection itself" in str(found.exception)
    assert (tmp_path / "p.jsonl").read_text() == rows
