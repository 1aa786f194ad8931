"""Recall without feedback, with it, and with the retriever as its own teacher."""

import numpy as np
import pytest
import small_words
from small_index import IDS, QUERY, RELEVANCE, TEXTS, VECTORS, key

from rerank_plugins import InputError, Reranker
from rerank_plugins.evaluation import Collection
from rerank_plugins.feedback import BM25Index, FeedbackOptions, refine_query
from rerank_plugins.feedback.measure import Teacher, compare, compare_words
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Failing, Oracle

K = 40
BEST = {IDS[i] for i in np.argsort(-RELEVANCE)[:K]}
COLLECTION = Collection(
    documents=dict(zip(IDS, TEXTS, strict=True)),
    queries={"q": "a question"},
    qrels={"q": dict.fromkeys(BEST, 1)},
)


def recall(ids):
    return len(BEST & set(ids)) / len(BEST)


def measure(index, teacher):
    options = FeedbackOptions(k=K, on_error="keep_order")
    measured = compare(
        COLLECTION, index, {"q": QUERY}, teacher=teacher, options=options, measure=f"R@{K}"
    )
    [found] = measured
    return found


@pytest.mark.parametrize("by", ["reranker", "run"])
def test_each_measure_is_the_recall_of_its_list(index, by):
    best_first = [IDS[i] for i in np.argsort(-RELEVANCE)]
    teacher = (
        Teacher.by_reranker(Reranker(PairScore(), Oracle(key=key)))
        if by == "reranker"
        else Teacher.by_run({"q": best_first})
    )
    found = measure(index, teacher)
    first = index.search(QUERY, K)
    assert found.before == pytest.approx(recall(hit.id for hit in first))
    own = VECTORS @ QUERY
    shown = np.argsort(-own)[:K]
    control = refine_query(QUERY, VECTORS[shown], own[shown]).vector
    assert found.control == pytest.approx(recall(h.id for h in index.search(control, K)), abs=0.03)
    assert found.after > found.before
    assert found.fused >= found.before
    assert found.angle == pytest.approx(25, abs=0.1)
    assert (found.query, found.skipped) == ("q", "")


def test_a_reranker_that_fails_changes_nothing(index):
    found = measure(index, Teacher.by_reranker(Reranker(PairScore(), Failing())))
    assert found.before == found.after == found.fused
    assert found.angle == pytest.approx(0, abs=1e-3)
    assert "the reranker failed" in found.skipped


def test_a_run_without_the_query_is_refused(index):
    with pytest.raises(InputError, match="no query 'q'"):
        measure(index, Teacher.by_run({"other": IDS}))


@pytest.mark.parametrize("expand", ["neighbours", "both"])
def test_neighbours_are_measured_beside_those_without_a_reranker(index, expand):
    options = FeedbackOptions(k=K, expand=expand)
    teacher = Teacher.by_reranker(Reranker(PairScore(), Oracle(key=key)))
    vector = VECTORS[2] + VECTORS[1]  # half of what is meant
    [found] = compare(
        COLLECTION, index, {"q": vector}, teacher=teacher, options=options, measure="P@10"
    )
    assert found.before == len(BEST & {hit.id for hit in index.search(vector, 10)}) / 10
    assert found.after == found.fused > found.before
    assert found.control < found.after


def test_words_are_measured_beside_those_without_a_reranker():
    pytest.importorskip("bm25s")
    words = BM25Index.build(small_words.PASSAGES, ids=small_words.IDS)
    wanted = dict.fromkeys(small_words.HIDDEN, 1)
    collection = Collection(documents=small_words.TEXTS, queries={}, qrels={"q": wanted})
    teacher = Teacher.by_reranker(Reranker(PairScore(), Oracle(key=small_words.key)))
    options = FeedbackOptions(k=20, expand="words")
    asked = {"q": small_words.QUERY}
    [found] = compare_words(
        collection, words, asked, teacher=teacher, options=options, measure="R@20"
    )
    assert (found.before, found.after, found.fused) == (0, 1, 1)
    assert found.skipped == ""
    assert found.control <= found.after
