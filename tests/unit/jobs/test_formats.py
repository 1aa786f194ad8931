"""Formats of rankings: lines, their number, and which query they are of."""

import json

import pytest

from rerank_plugins import Ranking, Report, Usage
from rerank_plugins.jobs import Jsonl, Query, Trec, nonzero

QUERY = Query("q", "?", ("a", "b", "c"), ("x", "y", "z"))
REPORT = Report(fallbacks=("gone",), missing=frozenset({2, 1}))
RANKING = Ranking(
    (1, 0), (2.0, 0.5), "logit", Usage(calls=3, seconds=9.0, loading_seconds=70.0), REPORT
)


def test_a_trec_run():
    lines = ["q Q0 y 1 2.0 mine", "q Q0 x 2 0.5 mine"]
    assert Trec("mine").lines(QUERY, RANKING) == lines
    assert [Trec().count(QUERY, k) for k in (None, 2, 9)] == [3, 2, 3]
    assert Trec().same(QUERY, lines)
    assert not Trec().same(QUERY, ["q Q0 other 1 2.0 mine"])
    assert not Trec().same(QUERY, ["r Q0 x 1 2.0 mine"])
    assert not Trec().same(QUERY, ["q Q0 x"])


def test_json_lines():
    (line,) = Jsonl().lines(QUERY, RANKING)
    assert json.loads(line) == {
        "query_id": "q",
        "ranking": [
            {"id": "y", "position": 1, "score": 2.0},
            {"id": "x", "position": 0, "score": 0.5},
        ],
        "score_kind": "logit",
        "fallback": True,
        "report": {"fallbacks": ["gone"], "missing": [1, 2]},
        "usage": {
            "calls": 3,
            "searches": 0,
            "batches": 0,
            "prompt_tokens": 0,
            "generated_tokens": 0,
        },
    }
    assert Jsonl().count(QUERY, 2) == 1
    assert Jsonl().same(QUERY, [line])


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"query_id": "q"}',
        '{"query_id": "r", "ranking": []}',
        '{"query_id": "q", "ranking": [{"id": "x", "position": 1}]}',
        '{"query_id": "q", "ranking": [{"id": "x", "position": 7}]}',
    ],
)
def test_lines_of_other_queries(line):
    assert not Jsonl().same(QUERY, [line])


def test_a_report_without_its_zeros():
    assert nonzero(Report()) == {}
    assert nonzero(Report(malformed=2, truncated=frozenset({3}))) == {
        "malformed": 2,
        "truncated": [3],
    }
