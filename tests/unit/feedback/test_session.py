"""`FeedbackSearch`: sync, async and for many queries."""

import asyncio
import threading

import pytest
from small_index import DIM, QUERY, VECTORS, key, searcher

from rerank_plugins import (
    BackendError,
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
from rerank_plugins.testing import Failing, Oracle, Replay


def test_sync_async_and_many_agree(index):
    object_ = searcher(index, SlidingWindow(SingleToken()))
    one = object_.search("a question", QUERY)
    other = asyncio.run(object_.asearch("a question", QUERY))
    many = object_.search_many(["a question"] * 3, [QUERY, VECTORS[5], QUERY])
    assert [h.id for h in one.hits] == [h.id for h in other.hits] == [h.id for h in many[2].hits]
    assert one.scores == other.scores == many[0].scores
    assert one.usage.calls == many[0].usage.calls


def test_many_queries_on_an_event_loop_are_what_each_is_alone(index):
    """Common batches for a synchronous backend, one task a query for an asynchronous one."""

    class Awaited:
        """An asynchronous reranker and index, which count the queries under way at once."""

        def __init__(self, inner):
            self.inner_, self.now, self.most = inner, 0, 0

        async def arun(self, calls):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return self.inner_.run(calls)

    queries, vectors = [f"question {i}" for i in range(5)], VECTORS[:5].tolist()
    alone = [searcher(index).search(q, v) for q, v in zip(queries, vectors, strict=True)]
    local = asyncio.run(searcher(index).asearch_many(queries, vectors))
    model, passages = Awaited(Oracle(key=key)), Awaited(index)
    served = FeedbackSearch(passages, Reranker(PairScore(), model), k=40)
    remote = asyncio.run(served.asearch_many(queries, vectors, max_concurrency=2))
    for found in (local, remote):
        assert [r.hits for r in found] == [r.hits for r in alone]
        assert [r.usage.calls for r in found] == [r.usage.calls for r in alone]
    assert max(model.most, passages.most) <= 2


def test_many_queries_are_encoded_in_a_thread(index):
    threads = []

    def encode(text):
        threads.append(threading.current_thread())
        return VECTORS[int(text)].tolist()

    object_ = searcher(index)
    encoding = FeedbackSearch(index, object_.reranker, encode=encode, k=40)
    found = asyncio.run(encoding.asearch_many(["0", "1"]))
    assert [r.first for r in found] == [object_.search(q, VECTORS[int(q)]).first for q in "01"]
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("many", ["search_many", "asearch_many"])
def test_queries_and_vectors_from_generators(index, many):
    queries, vectors = ["a", "b"], [QUERY, VECTORS[5]]
    expected = call(searcher(index), many, queries, vectors)
    found = call(searcher(index), many, iter(queries), iter(vectors))
    assert [r.hits for r in found] == [r.hits for r in expected]


@pytest.mark.parametrize("many", ["search_many", "asearch_many"])
def test_the_first_error_of_many_is_raised_after_the_others(index, many):
    object_ = searcher(index, backend=Failing())
    with pytest.raises(BackendError):
        call(object_, many, ["a", "b"], [QUERY, QUERY])
    lenient = searcher(index, backend=Failing(), on_error="keep_order")
    found = call(lenient, many, ["a", "b"], [QUERY, QUERY])
    assert all(r.failed and len(r.hits) == 40 for r in found)
    with pytest.raises(InputError, match="2 queries and 1"):
        call(object_, many, ["a", "b"], [QUERY])


def call(object_, method, *args):
    found = getattr(object_, method)(*args)
    return found if method == "search_many" else asyncio.run(found)


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


def test_one_query_is_no_list_of_queries(index):
    search = searcher(index)
    for several in (search.search_many, lambda q, v: asyncio.run(search.asearch_many(q, v))):
        with pytest.raises(InputError, match="queries is of type str, expected a list"):
            several("ab", [QUERY, QUERY])
