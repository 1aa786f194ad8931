"""Comparisons of runs: exact p-values, intervals, wins and losses."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.evaluation import compare, compare_values, interval


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


def test_no_values_and_equal_values():
    with pytest.raises(InputError, match="values is empty"):
        interval([])
    assert interval([0.25, 0.25]) == (0.25, 0.25)
