"""Runs: read, checked against a collection, reordered and written."""

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Ranking
from rerank_plugins.evaluation import (
    Collection,
    check_run,
    judged_run,
    load_run,
    load_scores,
    rerank_run,
    write_run,
)


def test_a_run_is_read_by_rank(tmp_path):
    (tmp_path / "x.trec").write_text("q Q0 b 2 9.0 t\nq Q0 a 1 9.0 t\nq Q0 c 3 9.0 t\n")
    assert load_run(tmp_path / "x.trec", depth=2) == {"q": ["a", "b"]}
    (tmp_path / "y.trec").write_text("q Q0 b\n")
    with pytest.raises(InputError, match="line 1"):
        load_run(tmp_path / "y.trec")


def test_only_the_head_is_reordered():
    run = {"q": ["a", "b", "c"], "r": ["d"]}
    assert rerank_run(run, {"q": Ranking((1, 0))}) == {"q": ["b", "a", "c"]}


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


def test_a_run_of_another_collection():
    collection = Collection(
        documents={"a": "T one", "b": "two"}, queries={"q1": "?"}, qrels={"q1": {"a": 2, "b": 0}}
    )
    check_run({"q1": ["a", "b"]}, collection)
    with pytest.raises(InputError, match=r"2 documents .* among them 'x'"):
        check_run({"q1": ["a", "y", "x"]}, collection)
    with pytest.raises(InputError, match=r"1 queries .* among them 'q2'"):
        check_run({"q2": ["a"]}, collection)


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
    with pytest.raises(InputError, match="not a single word"):
        write_run(tmp_path / "x.trec", {"q": [name]})


RUN = "q Q0 b 2 1.5 t\nq Q0 a 1 2 t\nq Q0 c 3 1.5 t\nr Q0 a 1 0 t\n"


def test_scores_are_read_in_the_order_of_ranks(tmp_path):
    (tmp_path / "x.trec").write_text(RUN)
    scores = load_scores(tmp_path / "x.trec")
    assert scores == {"q": {"a": 2.0, "b": 1.5, "c": 1.5}, "r": {"a": 0.0}}
    assert list(scores["q"]) == ["a", "b", "c"]
    assert load_scores(tmp_path / "x.trec", depth=1) == {"q": {"a": 2.0}, "r": {"a": 0.0}}


def test_distances_are_negated(tmp_path):
    (tmp_path / "x.trec").write_text("q Q0 a 1 0.5 t\nq Q0 b 2 2 t\n")
    assert load_scores(tmp_path / "x.trec", distances=True) == {"q": {"a": -0.5, "b": -2.0}}
    (tmp_path / "x.trec").write_text(RUN)
    with pytest.raises(InputError, match=r"the scores of the query 'q' in .* fall along its ranks"):
        load_scores(tmp_path / "x.trec", distances=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RUN.replace("1.5", "3"), "the scores of the query 'q' in .* rise along its ranks"),
        (RUN.replace("1.5", "high"), "line 1 of .* has the score 'high', expected a finite number"),
        (RUN.replace("1.5", "nan"), "line 1 of .* has the score 'nan'"),
        (RUN.replace("a 1 0", "a 1 inf"), "line 4 of .* has the score 'inf'"),
        (RUN + "r Q0 a 2 0 t\n", "line 5 of .* lists 'a' for the query 'r' again"),
        (RUN + "r Q0 a\n", "line 5 of .* is not a TREC run line"),
        ("", "is empty"),
    ],
)
def test_scores_that_are_refused(tmp_path, text, says):
    (tmp_path / "x.trec").write_text(text)
    with pytest.raises(InputError, match=says):
        load_scores(tmp_path / "x.trec")


def test_a_run_is_read_once(tmp_path, monkeypatch):
    (tmp_path / "x.trec").write_text(RUN)
    opened = []
    original = Path.is_file

    def is_file(path):
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    load_scores(tmp_path / "x.trec")
    assert opened == ["x.trec"]


def test_a_compressed_run(tmp_path):
    write_run(tmp_path / "x.trec.gz", {"q": ["a", "b"]}, scores={"q": (3.0, 2.5)}, tag="mine")
    with gzip.open(tmp_path / "x.trec.gz", "rt") as file:
        assert file.read() == "q Q0 a 1 3.0 mine\nq Q0 b 2 2.5 mine\n"
    assert load_scores(tmp_path / "x.trec") == {"q": {"a": 3.0, "b": 2.5}}


def test_a_run_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_run(tmp_path / "x.trec", {"q": ["a"]})
    before = (tmp_path / "x.trec").read_text()
    with pytest.raises(InputError, match="not a single word"):
        write_run(tmp_path / "x.trec", {"q": ["b"], "r": ["a b"]})
    assert (tmp_path / "x.trec").read_text() == before
    with pytest.raises(InputError, match="cannot write"):
        write_run(tmp_path / "no" / "x.trec", {"q": ["b"]})


def test_judged_queries_alone():
    collection = Collection(
        documents={"a": "A"}, queries={"q": "?"}, qrels={"q": {"a": 1}}, unjudged={"r": "!"}
    )
    with pytest.raises(InputError, match=r"answers 1 queries that the collection lacks.*'s'"):
        judged_run({"q": ["a"], "s": ["a"]}, collection)
    assert judged_run({"q": ["a"], "r": ["z"]}, collection) == {"q": ["a"]}
    with pytest.raises(InputError, match="no query of the run is judged"):
        judged_run({"r": ["a"]}, collection)
    with pytest.raises(InputError, match=r"1 documents .* among them 'z'"):
        judged_run({"q": ["z"]}, collection)
