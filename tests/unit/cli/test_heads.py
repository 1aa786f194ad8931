"""``rerank-plugins heads``: which heads are found, and what is said of them on other queries."""

import json

import pytest
import tiny_models
from click.testing import CliRunner

from rerank_plugins import InputError, load_reranker
from rerank_plugins.cli._commands import commands
from rerank_plugins.cli._heads import judged_lists, separation
from rerank_plugins.jobs import Query


def test_a_head_is_as_good_as_the_distance_of_means():
    assert separation([3.0, 1.0, 1.0, 3.0], {0, 3}) == 2.0
    assert separation([3.0, 1.0, 1.0, 3.0], {1, 2}) == -2.0
    assert separation([30.0, 10.0, 10.0, 30.0], {0, 1}) == 0.0
    assert separation([1.0, 1.0], {0}) == 0.0


def test_queries_without_both_kinds_of_passages_are_left_out():
    queries = [Query(q, q, ("x", "y"), (f"{q}1", f"{q}2")) for q in "abc"]
    qrels = {"a": {"a2": 2, "a1": 0}, "b": {"b1": 1, "b2": 1}}
    assert judged_lists(queries, qrels) == [(queries[0], frozenset({1}))]


@pytest.fixture
def folder(tmp_path):
    """Six queries with five passages each, one of them relevant; and a tiny model."""
    (tmp_path / "qrels").mkdir()
    documents = {f"{q}{i}": f"{q} flea {i} " + "dog " * i for q in "abcdef" for i in range(5)}
    rows = [json.dumps({"_id": d, "title": "", "text": text}) for d, text in documents.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows))
    asked = [json.dumps({"_id": q, "text": f"dog {q}"}) for q in "abcdef"]
    (tmp_path / "queries.jsonl").write_text("\n".join(asked))
    judged = "".join(f"{q}\t{q}3\t1\n" for q in "abcdef")
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    run = [f"{q} Q0 {q}{i} {i + 1} {9 - i} x" for q in "abcdef" for i in range(5)]
    (tmp_path / "run.trec").write_text("\n".join(run) + "\n")
    tokenizer = tiny_models.characters()
    tiny_models.causal("llama", tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path


def called(folder, *arguments):
    given = ["heads", str(folder), "--run", str(folder / "run.trec")]
    options = ["--reranker", str(folder / "model"), *arguments]
    return CliRunner().invoke(commands, [*given, *options], catch_exceptions=False)


def test_heads_are_found_judged_and_written(folder):
    output = folder / "heads.yaml"
    result = called(folder, "--count", "2", "--output", str(output), "--json")
    found = json.loads(result.stdout)
    assert len(found["heads"]) == 2
    assert set(found["heads"]) <= {"0-0", "0-1", "1-0", "1-1"}
    assert (found["queries"], found["held_out"]) == (3, 3)
    assert set(found["values"]) == {"first stage", "all heads", "chosen heads"}
    assert found["values"]["first stage"] == pytest.approx(1 / 2.321928, abs=1e-4)  # fourth place
    assert found["help"] == all(low > 0 for low, _ in found["gains"].values())
    loaded = load_reranker(str(output))
    assert loaded.strategy.heads == tuple(found["heads"])
    text = called(folder, "--queries", "4").stdout
    assert "found on 2 queries, judged on 2 others" in text
    assert "help" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "heads.txt"], "--output is 'heads.txt'"),
        (["--queries", "1"], "1 queries have relevant"),
        (["--depth", "3"], "0 queries have relevant"),
    ],
)
def test_what_cannot_be_done_is_said(folder, arguments, message):
    with pytest.raises(InputError, match=message):
        called(folder, *arguments)


def test_another_backend_is_refused(folder):
    with pytest.raises(InputError, match="TransformersBackend"):
        called(folder, "--reranker", '{"backend": {"name": "oracle"}}')
