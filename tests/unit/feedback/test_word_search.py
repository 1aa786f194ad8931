"""Searches by words with feedback: the plan, and `FeedbackSearch` around it."""

import asyncio

import pytest
from small_words import HIDDEN, IDS, PASSAGES, QUERY, key

from rerank_plugins import BackendError, InputError, Reranker, UnknownNameError
from rerank_plugins.calls import Hit, ScorePair, Search
from rerank_plugins.errors import UnsupportedCallError
from rerank_plugins.feedback import (
    BM25Index,
    FeedbackOptions,
    FeedbackSearch,
    TextSearch,
    search_with_feedback,
)
from rerank_plugins.strategies import FullList, PairScore, Permutation, SlidingWindow
from rerank_plugins.testing import Failing, Oracle

pytest.importorskip("bm25s")


@pytest.fixture(scope="module")
def index():
    return BM25Index.build(PASSAGES, ids=IDS)


def searcher(index, strategy=None, backend=None, **options):
    reranker = Reranker(strategy or PairScore(), backend or Oracle(key=key))
    return FeedbackSearch(index, reranker, **{"expand": "words", "k": 20, **options})


@pytest.mark.parametrize("strategy", [PairScore(), SlidingWindow(Permutation()), FullList()])
def test_words_find_what_the_query_missed(index, strategy):
    found = searcher(index, strategy).search(QUERY)
    assert found.skipped == ""
    assert not HIDDEN & set(found.first)
    assert set(found.new) >= HIDDEN
    assert found.query.endswith(f" {QUERY}")
    assert "lifespan" in found.expansions[0].terms
    assert found.usage.searches == 2
    assert len(found.reranked) == len(set(found.reranked)) == len(found.hits)
    if found.score_kind == "logit":  # comparable with those of the first list
        assert {hit.id for hit in found.hits[:12]} >= HIDDEN


def test_sync_async_and_many_agree(index):
    one = searcher(index)
    alone = one.search(QUERY)
    found = [asyncio.run(one.asearch(QUERY)), *one.search_many([QUERY, QUERY])]
    found += asyncio.run(one.asearch_many([QUERY]))
    assert all(other.hits == alone.hits for other in found)
    assert all(other.query == alone.query for other in found)


def test_a_search_of_ones_own_gets_the_text(index):
    asked = []

    def search(text, k):
        asked.append((text, k))
        return index.search(text, k)

    found = searcher(TextSearch(search)).search(QUERY)
    assert asked == [(QUERY, 20), (found.query, 20)]
    assert found.hits == searcher(index).search(QUERY).hits


def test_a_search_that_asks_for_every_word_keeps_its_first_result():
    def every(text, k):
        words = set(text.split())
        found = [Hit(i, t) for i, t in zip(IDS, PASSAGES, strict=True) if words <= set(t.split())]
        return found[:k]

    found = searcher(TextSearch(every)).search("The")
    assert "every word" in found.skipped
    assert found.failed
    assert set(found.second) == set(found.first)
    assert found.reranked


def test_a_search_that_ignores_added_words_is_reported(index):
    found = searcher(TextSearch(lambda text, k: index.search(text.split()[-1], k))).search(QUERY)
    assert "ignore" in found.skipped
    assert found.failed


def test_a_second_search_that_fails(index):
    def breaks(text, k):
        if text != QUERY:
            raise OSError("syntax error")
        return index.search(text, k)

    with pytest.raises(BackendError):
        searcher(TextSearch(breaks), on_error="raise").search(QUERY)
    found = searcher(TextSearch(breaks), on_error="keep_order").search(QUERY)
    assert "syntax error" in found.skipped
    assert found.failed
    assert found.reranked


@pytest.mark.parametrize("returned", [None, ["d1", "d2"]])
def test_a_search_that_returns_no_hits_is_one_sentence(returned):
    with pytest.raises(InputError, match="the hits"):
        searcher(TextSearch(lambda text, k: returned)).search(QUERY)


def test_a_reranker_that_fails_leaves_the_first_result(index):
    broken = Failing(when=lambda call: isinstance(call, ScorePair))
    found = searcher(index, backend=broken, on_error="keep_order").search(QUERY)
    assert found.failed
    assert [hit.id for hit in found.hits] == list(found.first)
    assert found.query == QUERY


@pytest.mark.parametrize(("query", "says"), [("  ", "nothing"), ("xyzzy", "nothing")])
def test_queries_that_find_nothing(index, query, says):
    found = searcher(index).search(query)
    assert says in found.skipped
    assert found.hits == ()


def test_rounds_start_from_the_query(index):
    found = searcher(index, rounds=2, depth=8).search(QUERY)
    assert len(found.expansions) == 2
    assert found.expansions[-1].query.endswith(f" {QUERY}")


def test_a_vector_index_and_an_index_of_words_say_what_they_search_by(index):
    with pytest.raises(UnsupportedCallError, match="BM25Index searches by words"):
        index.run([Search((1.0,), 3)])
    with pytest.raises(UnsupportedCallError, match="index of words"):
        TextSearch(index.search).run([ScorePair("q", "p")])
    with pytest.raises(InputError, match="search_with_words"):
        search_with_feedback(
            QUERY, [1.0], rank=lambda _, __: iter(()), options=FeedbackOptions(expand="words")
        )


def test_arguments_that_do_not_go_with_words(index):
    with pytest.raises(InputError, match="neither vector nor first"):
        searcher(index).search(QUERY, [1.0])
    with pytest.raises(UnknownNameError, match="refit"):
        searcher(index, method="refit")
    assert searcher(index, method={"name": "bold", "terms": 3}).search(QUERY).skipped == ""
