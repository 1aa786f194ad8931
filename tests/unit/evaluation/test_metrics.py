"""Metrics with values from their definitions."""

import math

import pytest

from rerank_plugins import InputError
from rerank_plugins.evaluation import evaluate, evaluate_each, evaluate_queries


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
    for name, said in {
        "Beauty@10": r"unknown measure 'Beauty@10'. Write it as nDCG@10",
        "recal@10": "unknown measure 'recal@10'. Did you mean Recall",
        "nDCG@ten": r"unknown measure 'nDCG@ten'. Write it as nDCG@10",
        "P": "the measure 'P' needs a cutoff. Write P@10",
    }.items():
        with pytest.raises(InputError, match=said):
            evaluate({"q": ["a"]}, {"q": {"a": 1}}, [name])
    with pytest.raises(InputError, match="no query"):
        evaluate({"q": ["a"]}, {"r": {"a": 1}})


def test_each_query_by_each_measure():
    run, qrels = {"q": ["a", "b"], "r": ["c"]}, {"q": {"b": 1}, "r": {"c": 1}, "s": {"c": 1}}
    found = evaluate_queries(run, qrels, ["RR@10", "R@1"])
    assert found == {"RR@10": {"q": 0.5, "r": 1.0}, "R@1": {"q": 0.0, "r": 1.0}}
    assert evaluate_each(run, qrels, "R@1") == found["R@1"]
    assert evaluate(run, qrels, ["R@1"]) == {"R@1": 0.5}
