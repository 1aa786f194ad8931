"""A search that follows the neighbours of what was ranked best."""

import asyncio

import numpy as np
import pytest
from small_index import IDS, QUERY, TEXTS, VECTORS, key, searcher

from rerank_plugins import BackendError, InputError
from rerank_plugins.calls import Hit, Reply
from rerank_plugins.feedback import FaissIndex
from rerank_plugins.strategies import FullList, PairScore, Permutation, SingleToken, SlidingWindow
from rerank_plugins.testing import Babbling, Failing, Oracle

# Twelve topics of 25 passages. The user wants the first topic, of which a search for words found
# three passages among forty.
TOPICS = np.repeat(np.random.default_rng(1).normal(size=(12, 16)), 25, axis=0)
GROUPED = TOPICS + 0.3 * np.random.default_rng(2).normal(size=TOPICS.shape)
GROUPED /= np.linalg.norm(GROUPED, axis=1, keepdims=True)
WANTED = {f"d{i}" for i in range(25)}
WORDS = [f"d{i}" for i in (*range(30, 40), 3, 60, 11, *range(100, 126), 20)]
STRATEGIES = {
    "gar": PairScore(),
    "slide-gar": SlidingWindow(SingleToken(), size=20, stride=10),
    "permutation": SlidingWindow(Permutation()),
    "full-list": FullList(),
}


@pytest.fixture(scope="module")
def grouped():
    """An index of passages that stand in groups."""
    return FaissIndex.build(GROUPED, ids=IDS, texts=TEXTS)


def topical(query, passage):
    """The relevance of the passages of `grouped`."""
    place = int(passage.split()[-1])
    return (5.0 if place < 25 else 0.0) + place / 1000


@pytest.mark.parametrize("expand", ["neighbours", "both"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_near_to_the_best_is_found_for_the_same_number_of_passages(grouped, name, expand):
    model = Oracle(key=topical)
    one = searcher(grouped, STRATEGIES[name], model, expand=expand)
    found = one.search("a question", GROUPED[40], first=grouped.hits(WORDS))
    assert found.first == tuple(WORDS)
    assert len(found.reranked) == len(set(found.reranked)) == 40
    assert len(WANTED & set(WORDS)) == 3
    assert len(WANTED & set(found.reranked)) >= 7
    assert (found.skipped, found.failed) == ("", False)
    assert list(found.reranked) == [hit.id for hit in found.hits][:40]
    assert set(WORDS) <= {hit.id for hit in found.hits}


class Scattered:
    """An index whose passages have no neighbours but themselves."""

    def __init__(self, index):
        self.index = index

    def run(self, calls):
        found = self.index.run(calls)
        pairs = zip(calls, found, strict=True)
        return [Reply(reply.answer[:1]) if call.k < 40 else reply for call, reply in pairs]


def test_both_reranks_what_the_refined_query_finds(index):
    alone = searcher(Scattered(index), expand="neighbours").search("a question", QUERY)
    assert alone.new == ()
    both = searcher(Scattered(index), expand="both").search("a question", QUERY)
    assert set(both.new) & set(both.reranked)


def test_another_first_stage_teaches_the_query(grouped):
    one = searcher(grouped, backend=Oracle(key=topical), method="bold")
    found = one.search("a question", GROUPED[40], first=grouped.hits(WORDS))
    assert found.first == tuple(WORDS)
    assert len(WANTED & set(found.second)) > 3


def test_windows_are_as_many_as_those_of_a_sliding_window(index):
    model = Oracle(key=key)
    strategy = SlidingWindow(SingleToken())
    found = searcher(index, strategy, model, k=100, expand="neighbours").search("?", QUERY)
    assert found.usage.calls == 9
    assert len(found.reranked) == 100
    assert found.score_kind == "rank"
    values = [key("?", hit.text) for hit in found.hits[:100]]
    assert values[:10] == sorted(values, reverse=True)[:10]


def test_scores_that_compare_rank_each_passage_once(index):
    found = searcher(index, expand="neighbours", depth=30).search("a question", QUERY)
    assert found.usage.calls == 30 == len(found.reranked)
    values = [found.scores[one] for one in found.reranked]
    assert values == sorted(values, reverse=True)
    assert found.vector.tolist() == pytest.approx(QUERY.tolist())
    assert found.second == found.first


def test_both_searches_with_a_refined_query_too(index):
    found = searcher(index, expand="both").search("a question", QUERY)
    assert found.refinements
    assert found.second != found.first
    assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(QUERY), abs=1e-5)


def test_hits_by_id(index):
    [one, two] = index.hits(["d5", "d2"])
    assert (one.id, one.text, one.score) == ("d5", TEXTS[5], None)
    np.testing.assert_allclose(two.vector, VECTORS[2], atol=1e-6)
    kept = FaissIndex.build(VECTORS, ids=IDS, texts=TEXTS, factory="IVF4,PQ4")
    beside = FaissIndex(kept.index, ids=IDS, texts=TEXTS, vectors=VECTORS)
    np.testing.assert_array_equal(beside.hits(["d7"])[0].vector, VECTORS[7])
    with pytest.raises(InputError, match="does not hold 'x'"):
        index.hits(["d1", "x"])


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_passage_is_searched_with_twice(index, name):
    asked = []

    class Watched:
        def run(self, calls):
            asked.extend(call.vector for call in calls)
            return index.run(calls)

    searcher(Watched(), STRATEGIES[name], expand="neighbours").search("a question", QUERY)
    assert len(asked[1:]) == len(set(asked[1:])) > 10  # after the first search


class Lonely:
    """An index whose hits have no vectors: they have no neighbours."""

    def __init__(self, index):
        self.index = index

    def run(self, calls):
        return [
            Reply(tuple(Hit(hit.id, hit.text) for hit in reply.answer))
            for reply in self.index.run(calls)
        ]


@pytest.mark.parametrize("name", ["gar", "slide-gar"])
def test_without_vectors_the_first_stage_is_reranked_and_the_result_says_why(index, name):
    found = searcher(Lonely(index), STRATEGIES[name], expand="neighbours").search("?", QUERY)
    assert (found.skipped, found.failed) == ("no hit came with a vector", True)
    assert set(found.reranked) == set(found.first)


class Once:
    """An index that answers once."""

    def __init__(self, index):
        self.index, self.left = index, 1

    def run(self, calls):
        self.left -= 1
        if self.left >= 0:
            return self.index.run(calls)
        return [BackendError("the server is down") for _ in calls]


def test_a_search_for_neighbours_that_fails(index):
    with pytest.raises(BackendError):
        searcher(Once(index), expand="neighbours").search("a question", QUERY)
    options = {"expand": "neighbours", "on_error": "keep_order"}
    found = searcher(Once(index), **options).search("a question", QUERY)
    assert found.skipped == "the search for neighbours failed: the server is down"
    assert set(found.reranked) == set(found.first)


@pytest.mark.parametrize("strategy", [PairScore(), SlidingWindow(SingleToken())])
def test_a_reranker_that_fails_loses_nothing(index, strategy):
    with pytest.raises(BackendError):
        searcher(index, strategy, Failing(), expand="neighbours").search("?", QUERY)
    options = {"expand": "neighbours", "on_error": "keep_order"}
    found = searcher(index, strategy, Failing(), **options).search("?", QUERY)
    assert found.failed
    assert [hit.id for hit in found.hits] == list(found.first)


def test_a_model_that_babbles_loses_nothing(index):
    strategy = SlidingWindow(Permutation())
    found = searcher(index, strategy, Babbling(), expand="neighbours").search("?", QUERY)
    assert set(found.first) <= {hit.id for hit in found.hits}
    assert found.report.fallback or found.failed


@pytest.mark.parametrize(
    "options",
    [
        {"expand": "both ways"},
        {"neighbours": 0},
        {"window": 1},
        {"expand": "neighbours", "rounds": 2},
        {"expand": "neighbours", "fuse": "rrf"},
        {"expand": "both", "head": 3},
        {"expand": "both", "rerank_new": False},
    ],
)
def test_options_that_do_not_go_together_are_refused(index, options):
    with pytest.raises(InputError):
        searcher(index, **options)


def test_sync_async_and_many_agree(index):
    one = searcher(index, expand="both")
    plain = one.search("a question", QUERY)
    assert asyncio.run(one.asearch("a question", QUERY)).reranked == plain.reranked
    assert one.search_many(["a question"], [QUERY])[0].reranked == plain.reranked


def test_nothing_found_and_a_blank_query(index):
    blank = searcher(index, expand="neighbours").search(" ", QUERY)
    assert blank.skipped == "the query is blank"
    nothing = searcher(index, expand="neighbours").search("?", QUERY, first=[])
    assert nothing.skipped == "the first search found nothing"


@pytest.mark.parametrize("expand", ["neighbours", "both"])
def test_a_depth_of_one_window_leaves_no_room_for_neighbours_and_says_so(index, expand):
    found = searcher(index, expand=expand, depth=20).search("a question", QUERY)
    assert len(found.reranked) == 20
    assert "first window" in found.skipped
    assert not found.failed
    assert not searcher(index, expand=expand, depth=21).search("a question", QUERY).skipped


def test_ids_are_no_hits(index):
    with pytest.raises(InputError, match=r"'d1' among the hits.*FaissIndex\.hits"):
        searcher(index).search("a question", QUERY, first=["d1"])


def test_vectors_that_are_not_finite_are_said_to_be_so(index):
    with pytest.raises(InputError, match="query vector holds NaN"):
        searcher(index).search("a question", QUERY * np.nan)
    with pytest.raises(InputError, match="a vector holds NaN"):
        index.search(QUERY * np.inf, 3)
