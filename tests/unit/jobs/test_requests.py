"""Rows of queries, candidates and passages."""

import json

import pytest

from rerank_plugins import InputError, Passage
from rerank_plugins.evaluation import Collection
from rerank_plugins.jobs import Query, parse_id, parse_query, read_requests, run_requests


def test_requests_are_read_as_they_come():
    rows = iter([json.dumps({"query_id": i, "query": "a", "passages": ["x"]}) for i in range(3)])
    found = read_requests(rows, "a list")
    assert next(found).query_id == "0"
    assert len(list(rows)) == 2  # nothing was read ahead


def test_a_candidate_keeps_its_title():
    query = parse_query(
        {"query_id": "q", "query": "flea", "candidates": [{"id": 3, "text": "x", "title": "Flea"}]}
    )
    assert query.ids == ("3",)
    [passage] = query.passages
    assert isinstance(passage, Passage)
    assert passage.passage_title == "Flea"


def test_a_row_may_have_an_instruction():
    row = {"query_id": "q", "query": "flea", "passages": ["a"]}
    assert parse_query(row).request == ("flea", ("a",), None)
    assert parse_query({**row, "instruction": None}).instruction is None
    told = parse_query({**row, "instruction": "Find code."})
    assert told.request == ("flea", ("a",), "Find code.")
    row = {"query_id": "q", "query": "flea", "candidates": [{"id": "a", "text": "x"}]}
    assert parse_query({**row, "instruction": "Find code."}).instruction == "Find code."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"query": None}, "query is of type NoneType"),
        ({"instruction": " "}, "instruction is ' ', expected a text that is not blank"),
        ({"instruction": 3}, "instruction is 3, expected a text that is not blank"),
        ({"passages": None}, "either passages or candidates"),
        ({"candidates": [{"id": 1, "text": "x"}]}, "either passages or candidates"),
        ({"passages": ["a", 3]}, "not a list of strings"),
        ({"passages": None, "candidates": [{"text": "x"}]}, r"candidates\[0\] has no id"),
        ({"passages": None, "candidates": [{"id": "x"}]}, r"candidates\[0\] has no text"),
    ],
)
def test_bad_rows(change, says):
    with pytest.raises(InputError, match=says):
        parse_query({"query_id": "q", "query": "flea", "passages": ["a"], **change})


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["[]"], "line 1 of x: a row is of type list, which is not a JSON object"),
        (["", "{broken"], "line 2 of x is not JSON"),
        (["[" * 100_000], "line 1 of x is not JSON"),
        ([b"\xff"], "line 1 of x is not JSON"),
        (['{"query_id": 1, "query": "a", "passages": []}'] * 2, "line 2 of x .*'1', like line 1"),
    ],
)
def test_lines_that_are_refused(lines, says):
    with pytest.raises(InputError, match=says):
        list(read_requests(lines, "x"))


@pytest.mark.parametrize("value", [1.5, True, None, {"a": 1}, "\ud800"])
def test_bad_ids(value):
    with pytest.raises(InputError, match=r"an id is of type|not valid Unicode"):
        parse_id(value)


def test_scores_of_candidates_and_of_runs():
    row = {"query_id": 1, "query": "flea"}
    query = parse_query({**row, "candidates": [{"id": 1, "text": "a", "score": 2}]})
    assert query.passages[0].score == 2.0
    for wrong in ("high", True, 10**400, float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"the score of candidates\[0\] is"):
            parse_query({**row, "candidates": [{"id": 1, "text": "a", "score": wrong}]})
    query = parse_query({**row, "candidates": [{"id": 1, "text": "a", "distance": 2}]})
    assert query.passages[0].score == -2.0
    query = parse_query({**row, "candidates": [{"id": 1, "text": "a", "similarity": 2}]})
    assert (query.passages[0].score, query.passages[0].directed) == (2.0, True)
    with pytest.raises(InputError, match=r"the distance of candidates\[0\] is 'far'"):
        parse_query({**row, "candidates": [{"id": 1, "text": "a", "distance": "far"}]})
    with pytest.raises(InputError, match=r"candidates\[0\]: .* the score 1.0 and the distance 2.0"):
        parse_query({**row, "candidates": [{"id": 1, "text": "a", "score": 1, "distance": 2}]})
    documents = {"a": Passage("A", title="T"), "b": "B"}
    collection = Collection(documents=documents, queries={"q": "?"}, qrels={"q": {"a": 1}})
    (query,) = run_requests(collection, {"q": ["b", "a"]}, scores={"q": {"a": 0.5}})
    assert query == Query("q", "?", ("B", "A"), ("b", "a"))
    assert [(p.passage_title, p.score) for p in query.passages] == [("", None), ("T", 0.5)]
    (query,) = run_requests(collection, {"q": ["b", "a"]}, depth=1)
    assert query.ids == ("b",)


def test_passages_without_ids_are_named_by_their_positions():
    assert Query("q", "?", ("a", "b"), None).passage_id(1) == "1"
    assert Query("q", "?", ("a", "b"), ("x", "y")).passage_id(1) == "y"
