"""`FeedbackSearch`: sync, async and for many queries."""

import asyncio

import pytest
from small_index import DIM, QUERY, VECTORS, key, searcher

from rerank_plugins import (
    InputError,
    Reranker,
    UnknownNameError,
)
from rerank_plugins.calls import Search
from rerank_plugins.feedback import FeedbackSearch, Turn
from rerank_plugins.middleware import recorded
from rerank_plugins.strategies import (
    PairScore,
    Permutation,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.testing import Oracle, Replay


def test_sync_async_and_many_agree(index):
    object_ = searcher(index, SlidingWindow(SingleToken()))
    one = object_.search("a question", QUERY)
    other = asyncio.run(object_.asearch("a question", QUERY))
    many = object_.search_many(["a question"] * 3, [QUERY, VECTORS[5], QUERY])
    assert [h.id for h in one.hits] == [h.id for h in other.hits] == [h.id for h in many[2].hits]
    assert one.scores == other.scores == many[0].scores
    assert one.usage.calls == many[0].usage.calls


def test_queries_are_encoded_where_there_is_an_encoder(index):
    object_ = FeedbackSearch(
        index, Reranker(PairScore(), Oracle(key=key)), encode=lambda text: QUERY.tolist(), k=20
    )
    expected = object_.search("a question", QUERY)
    assert [h.id for h in object_.search("a question").hits] == [h.id for h in expected.hits]
    assert asyncio.run(object_.asearch("a question")).first == expected.first
    assert object_.search_many(["a question"])[0].first == expected.first
    with pytest.raises(InputError, match="encode"):
        searcher(index).search("a question")
    with pytest.raises(InputError, match="2 queries and 1"):
        searcher(index).search_many(["a", "b"], [QUERY])


@pytest.mark.parametrize(
    "options",
    [
        {"k": 0},
        {"depth": 0},
        {"rounds": 0},
        {"head": -1},
        {"k": 2.5},
        {"k": True},
        {"fuse": "best"},
        {"on_error": "x"},
        {"nonsense": 1},
        {"k": None},
    ],
)
def test_options_out_of_range_are_refused(index, options):
    with pytest.raises(InputError):
        searcher(index, **options)


def test_methods_by_name_mapping_and_object(index):
    with pytest.raises(UnknownNameError):
        searcher(index, method="brave")
    wide = searcher(index, method={"name": "safe", "degrees": 40.0}).search("q", QUERY)
    same = searcher(index, method=Turn(degrees=40.0)).search("q", QUERY)
    assert wide.refinements[0].angle == same.refinements[0].angle == pytest.approx(40, abs=0.1)
    for method in ("refit", "first", "bold"):
        assert searcher(index, method=method).search("q", QUERY).refinements[0].angle > 0
    with pytest.raises(InputError, match="needs scores"):
        searcher(index, SlidingWindow(Permutation()), method="refit").search("q", QUERY)


@pytest.mark.parametrize("vector", [[], [[1.0]], ["a"], [float("nan")] * DIM, [1.0, 2.0]])
def test_vectors_that_are_none(index, vector):
    with pytest.raises(InputError):
        searcher(index).search("a question", vector)


def test_a_search_can_be_recorded_and_replayed(index, tmp_path):
    log = tmp_path / "search.jsonl"
    call = [Search(tuple(map(float, QUERY)), 5)]
    [said] = recorded(index, log).run(call)
    [again] = Replay(log).run(call)
    assert said.answer == again.answer
    assert [list(h.vector) for h in said.answer] == [list(h.vector) for h in again.answer]
