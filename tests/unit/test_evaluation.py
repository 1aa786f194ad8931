"""Collections, runs and metrics on files small enough to check by hand."""

import gzip
import json
import math

import pytest

from rerank_plugins import InputError, Ranking
from rerank_plugins.evaluation import evaluate, load_collection, load_run, rerank_run
from rerank_plugins.evaluation.runs import passages


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\n")
    corpus = [{"_id": "a", "title": "T", "text": "one"}, {"_id": "b", "text": "two"}]
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(d) + "\n" for d in corpus)
    queries = [{"_id": "q1", "text": "?"}, {"_id": "q2", "text": "not judged"}]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    return tmp_path


def test_a_beir_folder_plain_and_gzipped(folder):
    collection = load_collection(folder)
    assert collection.documents == {"a": "T one", "b": "two"}
    assert collection.queries == {"q1": "?"}
    assert collection.qrels == {"q1": {"a": 2, "b": 0}}
    assert passages(collection, {"q1": ["b", "a"]}, "q1") == ["two", "T one"]


def test_broken_files_are_named_with_their_line(folder):
    with pytest.raises(InputError, match=r"there is no file .*train\.tsv"):
        load_collection(folder, split="train")
    (folder / "queries.jsonl").write_text('{"_id": "q1"}\n')
    with pytest.raises(InputError, match="line 1"):
        load_collection(folder)
    (folder / "qrels" / "test.tsv").write_text("header\nq1\ta\thigh\n")
    with pytest.raises(InputError, match="line 2"):
        load_collection(folder)


def test_a_run_is_read_by_rank(tmp_path):
    (tmp_path / "x.trec").write_text("q Q0 b 2 9.0 t\nq Q0 a 1 9.0 t\nq Q0 c 3 9.0 t\n")
    assert load_run(tmp_path / "x.trec", depth=2) == {"q": ["a", "b"]}
    (tmp_path / "y.trec").write_text("q Q0 b\n")
    with pytest.raises(InputError, match="line 1"):
        load_run(tmp_path / "y.trec")


def test_ndcg_has_linear_gain_and_obeys_the_order():
    qrels = {"q": {"a": 3, "b": 1}}
    found = evaluate({"q": ["b", "x", "a"]}, qrels, ["nDCG@10", "R@2"])
    ideal = 3 + 1 / math.log2(3)
    assert found["nDCG@10"] == pytest.approx((1 + 3 / math.log2(4)) / ideal)
    assert found["R@2"] == 0.5


def test_ties_are_never_broken_by_document_names():
    for order in (["a", "b"], ["b", "a"]):
        assert evaluate({"q": order}, {"q": {order[0]: 1}}, ["RR@10"]) == {"RR@10": 1.0}


def test_bad_measures_and_runs_without_judgements():
    with pytest.raises(InputError, match="unknown measure"):
        evaluate({"q": ["a"]}, {"q": {"a": 1}}, ["Beauty@10"])
    with pytest.raises(InputError, match="no query"):
        evaluate({"q": ["a"]}, {"r": {"a": 1}})


def test_only_the_head_is_reordered():
    run = {"q": ["a", "b", "c"], "r": ["d"]}
    assert rerank_run(run, {"q": Ranking((1, 0))}) == {"q": ["b", "a", "c"]}
