"""Rankings of several lists, merged."""

from dataclasses import replace

import pytest
from small_index import IDS, QUERY, RELEVANCE, searcher

from rerank_plugins import (
    Ranking,
)
from rerank_plugins.feedback._judged import Judged, merge_by_level
from rerank_plugins.strategies import (
    FullList,
)


def test_scores_of_the_same_kind_merge_by_score(index):
    found = searcher(index).search("a question", QUERY)
    scores = [found.scores[hit.id] for hit in found.hits]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([RELEVANCE[IDS.index(hit.id)] for hit in found.hits], abs=1e-6)
    lines, kind = found.scored(5)
    assert kind == "logit"
    assert [score for _, score in lines] == scores[:5]


def test_lists_that_cannot_be_compared_keep_both_orders(index):
    found = searcher(index, FullList()).search("a question", QUERY)
    assert found.score_kind == "rank"
    for part in (found.first, found.new):
        order = [RELEVANCE[IDS.index(key)] for key in found.reranked if key in part]
        assert order == sorted(order, reverse=True)
    lines, kind = found.scored(4)
    assert (kind, [s for _, s in lines]) == ("rank", [1, 1 / 2, 1 / 3, 1 / 4])


def test_scores_of_one_list_do_not_decide_between_lists():
    """Standard deviations from the mean of a list say nothing about another list."""
    first = Judged(("a", "b"), {"a": 1.0, "b": -1.0}, "z-score")
    second = Ranking((0, 1), (9.0, 8.0), "z-score")
    assert not first.comparable(second)
    level = {"a": 4.0, "b": 1.0, "c": 3.0, "d": 2.0}
    assert first.with_ranking(("c", "d"), second, level).order == ("a", "c", "d", "b")
    logits = Judged(("a", "b"), {"a": 1.0, "b": -1.0}, "logit")
    merged = logits.with_ranking(("c", "d"), replace(second, score_kind="logit"), level)
    assert merged.order[:2] == ("c", "d")
    assert replace(logits, kind="similarity").comparable(replace(second, score_kind="similarity"))


def test_merging_by_level():
    assert merge_by_level("", "xy", {"x": 1, "y": 2}) == ["x", "y"]
    assert merge_by_level("ab", "xy", dict.fromkeys("abxy", 1.0)) == ["a", "b", "x", "y"]
