"""Collections, runs and metrics on files small enough to check by hand."""

import gzip
import itertools
import json
import math
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Ranking
from rerank_plugins.evaluation import (
    check_run,
    compare,
    compare_values,
    comparisons,
    evaluate,
    interval,
    load_collection,
    load_run,
    measured,
    rerank_run,
    write_run,
)
from rerank_plugins.evaluation._runs import passages


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


# What is wrong with files.


def spoiled(folder, name, text):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("queries.jsonl", '{"_id": "q1", "text": "?"}\nnothing\n', "line 2 of .* is not JSON"),
        ("queries.jsonl", "[1]\n", "line 1 of .* is not a JSON object"),
        (
            "queries.jsonl",
            '{"_id": "q1", "text": "a"}\n' * 2,
            "line 2 of .* gives the id 'q1' again",
        ),
        ("queries.jsonl", '{"_id": "x", "text": "a"}\n', "1 judged queries .* among them 'q1'"),
        ("queries.jsonl", "", "has no queries"),
        ("corpus.jsonl", "", "has no documents"),
        ("qrels/test.tsv", "header\n", "has no judgements"),
        ("qrels/test.tsv", "h\nq1\ta\t1\nq1\ta\t2\n", "line 3 of .* judges 'a' .* again"),
    ],
)
def test_files_that_are_refused(folder, name, text, says):
    with pytest.raises(InputError, match=says):
        load_collection(spoiled(folder, name, text))


def test_a_damaged_gzip_file(folder):
    file = folder / "corpus.jsonl.gz"
    whole = file.read_bytes()
    for broken in (whole[:-12], b"no gzip at all", whole[:12] + b"\0\1\2\3" + whole[16:]):
        file.write_bytes(broken)
        with pytest.raises(
            InputError, match=r"corpus\.jsonl\.gz is a damaged gzip file|is not JSON"
        ):
            load_collection(folder)


def test_bytes_that_are_no_text(folder):
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "\xff"}\n')
    with pytest.raises(InputError, match="is not UTF-8"):
        load_collection(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("q Q0 a 1 1 t\nq Q0 a 2 1 t\n", "line 2 of .* lists 'a' for the query 'q' again"),
        ("q Q0 a one 1 t\n", "line 1"),
    ],
)
def test_runs_that_are_refused(tmp_path, text, says):
    (tmp_path / "x.trec").write_text(text)
    with pytest.raises(InputError, match=says):
        load_run(tmp_path / "x.trec")


def test_a_run_of_another_collection(folder):
    collection = load_collection(folder)
    check_run({"q1": ["a", "b"]}, collection)
    with pytest.raises(InputError, match=r"2 documents .* among them 'x'"):
        check_run({"q1": ["a", "y", "x"]}, collection)
    with pytest.raises(InputError, match=r"1 queries .* among them 'q2'"):
        check_run({"q2": ["a"]}, collection)


def test_a_collection_of_ir_datasets(tmp_path):
    ir_datasets = pytest.importorskip("ir_datasets", reason="pip install ir_datasets")
    (tmp_path / "docs.tsv").write_text("a\tone\nb\ttwo\n")
    (tmp_path / "queries.tsv").write_text("q1\t?\nq2\tnot judged\n")
    (tmp_path / "qrels").write_text("q1 0 a 2\nq1 0 b 0\n")
    made = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels"),
    )
    name = "rerank-plugins-test"
    if name not in ir_datasets.registry:
        ir_datasets.registry.register(name, made)
    collection = load_collection(f"irds:{name}")
    assert collection.documents == {"a": "one", "b": "two"}
    assert (collection.queries, collection.qrels) == ({"q1": "?"}, {"q1": {"a": 2, "b": 0}})
    with pytest.raises(InputError, match="ir_datasets knows no 'nonsense'"):
        load_collection("irds:nonsense")


# Comparisons.


def by_definition(changes):
    """The exact p-value: every assignment of signs."""
    observed = abs(sum(changes))
    signs = itertools.product((1, -1), repeat=len(changes))
    sums = [abs(sum(s * c for s, c in zip(row, changes, strict=True))) for row in signs]
    return sum(value >= observed - 1e-12 for value in sums) / len(sums)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_the_p_value_is_that_of_all_signs(changes):
    first = {str(i): 0.5 for i in range(len(changes))}
    second = {str(i): 0.5 + c / 8 for i, c in enumerate(changes)}
    found = compare_values(first, second, "nDCG@10")
    assert found.p_value == pytest.approx(by_definition(changes))
    assert found.difference == pytest.approx(sum(changes) / 8 / len(changes))
    assert found.low - 1e-12 <= found.difference <= found.high + 1e-12
    assert (found.wins, found.losses) == (sum(c > 0 for c in changes), sum(c < 0 for c in changes))
    assert found.wins + found.ties + found.losses == len(changes)


def test_an_interval_holds_the_mean_as_often_as_it_says():
    rng = random.Random(1)
    samples = [[rng.gauss(0.3, 1) for _ in range(60)] for _ in range(100)]
    held = sum(low <= 0.3 <= high for low, high in map(interval, samples))
    assert 87 <= held <= 100


def test_only_queries_of_both_runs_are_compared():
    qrels = {"q": {"a": 1}, "r": {"a": 1}, "s": {"a": 1}}
    found = compare({"q": ["b", "a"], "r": ["a"]}, {"q": ["a", "b"], "s": ["a"]}, qrels, "RR@10")
    assert found.changes == {"q": 0.5}
    assert found.most_changed(3) == [("q", 0.5)]
    with pytest.raises(InputError, match="no judged query in common"):
        compare({"q": ["a"]}, {"r": ["a"]}, qrels)


def test_the_seed_decides():
    rng = random.Random(2)
    values = [rng.random() for _ in range(30)]
    assert interval(values, seed=3) == interval(values, seed=3)
    assert interval(values, seed=3) != interval(values, seed=4)


def test_rows_of_a_table():
    qrels = {"q": {"a": 1}, "r": {"b": 1}}
    rows = [
        measured("one", {"q": ["b", "a"], "r": ["b"]}, qrels, ["RR@10", "R@1"]),
        measured("two", {"q": ["a", "b"]}, qrels, ["RR@10", "R@1"]),
    ]
    assert rows[0].measures == {"RR@10": 0.75, "R@1": 0.5}
    assert [row.unanswered for row in rows] == [0, 1]
    nothing, found = comparisons(rows)
    assert nothing is None
    assert (found.first, found.second) == (0.5, 1.0)  # of the query that both answer


@given(
    st.dictionaries(
        st.text("qr1", min_size=1), st.lists(st.text("ab", min_size=1), unique=True, min_size=1)
    ).filter(bool)
)
def test_a_run_is_read_as_it_was_written(run):
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder) / "x.trec", run)
        assert load_run(Path(folder) / "x.trec") == run


@pytest.mark.parametrize("name", ["a b", "", "a\tb", "a\u2003b", "a\n"])
def test_ids_that_a_run_cannot_hold(tmp_path, name):
    with pytest.raises(InputError, match="no single word"):
        write_run(tmp_path / "x.trec", {"q": [name]})
