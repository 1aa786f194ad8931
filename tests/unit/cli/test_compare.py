"""``rerank-plugins compare``: a comparison in words and in numbers."""

import pytest

from rerank_plugins.cli._compare import comparison_text, difference_numbers
from rerank_plugins.evaluation import Comparison

FOUND = Comparison(
    measure="RR@10",
    first=0.5,
    second=0.625,
    low=-0.1,
    high=0.35,
    p_value=0.25,
    changes={"a": 0.75, "b": -0.25, "c": 0.0, "d": 0.0},
)
QUERIES = {"a": "what is a flea", "b": "wolves", "c": "", "d": ""}


def test_in_words():
    text = comparison_text(FOUND, QUERIES, 1, {"first": 0, "second": 0})
    assert text.splitlines() == [
        "4 queries, RR@10",
        "first       0.5000",
        "second      0.6250",
        "difference  +0.1250  [-0.1000, +0.3500]  p = 0.2500",
        "better 1, equal 2, worse 1",
        "",
        "changed most       by",
        "a             +0.7500  what is a flea",
    ]


def test_queries_of_one_run_alone_are_reported():
    text = comparison_text(FOUND, QUERIES, 0, {"first": 2, "second": 1})
    assert text.splitlines()[-2:] == [
        "2 queries of the first run are not in the second, and not compared",
        "1 queries of the second run are not in the first, and not compared",
    ]


def test_in_numbers():
    assert difference_numbers(FOUND) == {
        "difference": pytest.approx(0.125),
        "interval": [-0.1, 0.35],
        "p_value": 0.25,
        "wins": 1,
        "ties": 2,
        "losses": 1,
    }
