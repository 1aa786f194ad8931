"""The plan of a search with feedback: rounds, failures, hits without vectors."""

import numpy as np
import pytest
from small_index import IDS, QUERY, RELEVANCE, TEXTS, VECTORS, N, key, searcher

from rerank_plugins import (
    BackendError,
    BudgetError,
    InputError,
    Limits,
    Reranker,
)
from rerank_plugins.calls import Hit, Reply
from rerank_plugins.feedback import FaissIndex, FeedbackOptions
from rerank_plugins.strategies import (
    Calibrated,
    FullList,
    Groupwise,
    PairScore,
    Permutation,
    Pointwise,
    QueryLikelihood,
    SingleToken,
    SlidingWindow,
    TopDown,
)
from rerank_plugins.testing import Babbling, Failing, Oracle


def logging_oracle():
    """It remembers what it was asked, in ``asked``."""
    return Oracle(key=key, grade=lambda relevance: max(0, round(5 * relevance)))


def test_the_second_search_finds_what_the_first_missed(index):
    found = searcher(index).search("a question", QUERY)
    best = {IDS[i] for i in np.argsort(-RELEVANCE)[:40]}
    before, after = best & set(found.first), best & set(found.second)
    assert len(after) > len(before) + 5
    assert set(found.new) == set(found.second) - set(found.first)
    assert found.skipped == ""
    assert not found.failed
    [refinement] = found.refinements
    assert refinement.angle == pytest.approx(25, abs=0.1)
    assert found.usage.searches == 2
    assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(QUERY), abs=1e-5)


STRATEGIES = {
    "pair-score": PairScore(),
    "pointwise": Pointwise(),
    "query-likelihood": QueryLikelihood(),
    "first": SlidingWindow(SingleToken(), size=10, stride=5),
    "one window": SlidingWindow(SingleToken()),
    "permutation": SlidingWindow(Permutation()),
    "top-down": TopDown(SingleToken()),
    "full-list": FullList(),
    "groupwise": Groupwise(weight=1.0),
}


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("rounds", [1, 3])
def test_no_passage_is_reranked_twice(index, name, rounds):
    model = logging_oracle()
    asked = []
    strategy = STRATEGIES[name]

    class Watched:
        def rank(self, query, passages):
            asked.append(list(passages))
            return strategy.rank(query, passages)

    object_ = searcher(index, Watched(), model, rounds=rounds)
    asked.clear()  # a reranker asks for a plan when it is built
    found = object_.search("a question", QUERY)
    texts = [text for part in asked for text in part]
    assert len(texts) == len(set(texts)) == len(found.reranked)
    assert {hit.text for hit in found.hits} == set(texts)
    assert len(asked) <= rounds + 1
    assert len(set(found.reranked)) == len(found.reranked) == len(found.hits)
    assert found.usage.calls == len(model.asked)


def test_what_is_below_the_depth_is_not_reranked_and_yet_used(index):
    model = logging_oracle()
    found = searcher(index, backend=model, depth=10, rerank_new=False).search("q", QUERY)
    assert len(model.asked) == 10 == found.usage.calls
    assert found.reranked == tuple(sorted(found.first[:10], key=lambda i: -RELEVANCE[IDS.index(i)]))
    assert found.hits[:10] == tuple(h for i in found.reranked for h in found.hits if h.id == i)
    assert [h.id for h in found.hits[10:]][:5] == [
        i for i in found.second if i not in found.reranked
    ][:5]
    assert found.skipped == ""


def test_rounds_end_when_nothing_is_new(index):
    model = logging_oracle()
    found = searcher(index, backend=model, k=N, rounds=5).search("a question", QUERY)
    assert found.usage.searches == 2  # the first found everything
    assert len(found.hits) == N == len(model.asked)
    assert found.skipped == ""
    more = searcher(index, rounds=3).search("a question", QUERY)
    assert 2 <= more.usage.searches <= 4
    assert len(more.refinements) == more.usage.searches - 1


def down():
    return BackendError("the server is down")


def test_a_reranker_that_failed_raises_by_default(index):
    with pytest.raises(BackendError, match="down"):
        searcher(index, backend=Failing(down)).search("a question", QUERY)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_or_feedback_is_skipped_and_says_so(index, strategy):
    reranker = Reranker(strategy, Failing(down), on_error="keep_order")
    found = searcher(index, reranker=reranker).search("a question", QUERY)
    assert (
        [hit.id for hit in found.hits]
        == list(found.first)
        == [h.id for h in index.search(QUERY, 40)]
    )
    assert found.failed
    assert found.skipped == "the reranker failed: BackendError: the server is down"
    assert found.usage.searches == 1
    assert found.reranked == ()
    lines, kind = found.scored(3)
    assert kind == "index"
    assert [s for _, s in lines] == [hit.score for hit in found.hits[:3]]


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_rubbish_loses_nothing(index, strategy):
    reranker = Reranker(strategy, Babbling(), on_error="keep_order")
    found = searcher(index, reranker=reranker).search("a question", QUERY)
    assert set(found.first) <= {hit.id for hit in found.hits}
    assert len({hit.id for hit in found.hits}) == len(found.hits)


def test_what_the_second_search_adds_may_fail_alone(index):
    first = {hit.text for hit in index.search(QUERY, 40)}
    model = Failing(down, when=lambda call: call.passage not in first, otherwise=Oracle(key=key))
    reranker = Reranker(PairScore(), model, on_error="keep_order")
    found = searcher(index, reranker=reranker).search("a question", QUERY)
    assert "were not reranked: BackendError: the server is down" in found.skipped
    assert found.failed
    assert len(found.reranked) == 40
    assert found.new
    assert found.report.fallbacks
    assert {hit.id for hit in found.hits} == set(found.first) | set(found.second)


class Flaky:
    """An index whose searches fail from the ``n``-th on."""

    def __init__(self, index, n):
        self.index, self.left = index, n

    def run(self, calls):
        self.left -= 1
        return self.index.run(calls) if self.left > 0 else [down() for _ in calls]


def test_a_search_that_fails(index):
    with pytest.raises(BackendError):
        searcher(Flaky(index, 1), on_error="keep_order").search("a question", QUERY)
    with pytest.raises(BackendError):
        searcher(Flaky(index, 2)).search("a question", QUERY)
    found = searcher(Flaky(index, 2), on_error="keep_order").search("a question", QUERY)
    assert found.skipped == "the next search failed: the server is down"
    assert found.failed
    assert len(found.hits) == 40 == len(found.reranked)


def test_a_budget_counts_the_models_calls_and_not_the_searches(index):
    strict = Reranker(PairScore(), Oracle(key=key), limits=Limits(max_calls=40))
    with pytest.raises(BudgetError):
        searcher(index, reranker=strict).search("a question", QUERY)
    kind = Reranker(
        PairScore(), Oracle(key=key), limits=Limits(max_calls=40), on_error="keep_order"
    )
    found = searcher(index, reranker=kind).search("a question", QUERY)
    assert (found.usage.calls, found.usage.searches) == (40, 2)
    assert "limit of 40 calls" in found.skipped


class Bare:
    """An index that gives no vectors away, or those of another model."""

    def __init__(self, index, vector=()):
        self.index, self.vector = index, vector

    def run(self, calls):
        return [
            Reply(tuple(Hit(h.id, h.text, self.vector, h.score) for h in reply.answer))
            for reply in self.index.run(calls)
        ]


def test_hits_without_vectors(index):
    found = searcher(Bare(index)).search("a question", QUERY)
    assert (found.skipped, found.failed) == ("no hit came with a vector", True)
    assert len(found.reranked) == 40
    with pytest.raises(InputError, match=r"2 .*same embedding model"):
        searcher(Bare(index, (1.0, 2.0))).search("a question", QUERY)


class Forgetful(Bare):
    """An index that gives every other vector away."""

    def run(self, calls):
        [reply] = self.index.run(calls)
        return [
            Reply(
                tuple(
                    Hit(h.id, h.text, h.vector if i % 2 else (), h.score)
                    for i, h in enumerate(reply.answer)
                )
            )
        ]


def test_some_hits_without_vectors(index):
    found = searcher(Forgetful(index)).search("a question", QUERY)
    assert found.skipped == ""
    assert found.refinements[0].angle > 10


class Odd:
    """An index that gives fewer hits, the same twice, and distances as scores."""

    def __init__(self, hits):
        self.hits = hits

    def run(self, calls):
        return [Reply(self.hits) for _ in calls]


def test_an_index_that_finds_nothing_little_or_the_same_twice():
    nothing = searcher(Odd(())).search("a question", QUERY)
    assert (nothing.hits, nothing.skipped) == ((), "the first search found nothing")
    one = (Hit("d0", TEXTS[0], VECTORS[0], 0.0),)
    alone = searcher(Odd(one)).search("a question", QUERY)
    assert [h.id for h in alone.hits] == ["d0"]
    assert "fewer than two" in alone.skipped
    twice = searcher(Odd(one + one)).search("a question", QUERY)
    assert [h.id for h in twice.hits] == ["d0"]


def test_distances_are_never_used_as_scores(index):
    """The same hits with distances, with similarities, and without scores: the same result."""
    results = []
    for sign in (1, -1, None):

        class Scored(Bare):
            def run(self, calls, sign=sign):
                return [
                    Reply(
                        tuple(
                            Hit(h.id, h.text, h.vector, sign and sign * h.score) for h in r.answer
                        )
                    )
                    for r in self.index.run(calls)
                ]

        found = searcher(Scored(index)).search("a question", QUERY)
        results.append(([h.id for h in found.hits], found.scored(3)))
    assert results[0][0] == results[1][0] == results[2][0]
    assert {kind for _, (_, kind) in results} == {"logit"}


def test_places_in_the_first_search_do_not_count(index):
    """`Calibrated` would count them where passages carry the first search's scores."""
    lists = [
        searcher(index, Calibrated(PairScore(), places=places)).search("a question", QUERY).hits
        for places in (0.0, 1000.0)
    ]
    assert [hit.id for hit in lists[0]] == [hit.id for hit in lists[1]]


def test_a_blank_query_and_equal_scores_are_left_alone(index):
    model = logging_oracle()
    blank = searcher(index, backend=model).search("  ", QUERY)
    assert (blank.skipped, model.asked) == ("the query is blank", [])
    assert len(blank.hits) == 40
    equal = searcher(index, backend=Oracle(key=lambda q, p: 1.0)).search("a question", QUERY)
    assert "same score" in equal.skipped
    assert not equal.failed
    assert equal.usage.searches == 1


def test_passages_without_text_are_ranked_as_they_are(index):
    empty = FaissIndex.build(VECTORS, ids=IDS, texts=[""] * N)
    found = searcher(empty, backend=Oracle()).search("a question", QUERY)
    assert len(found.hits) == 40


def test_a_second_search_that_could_change_nothing_is_refused():
    options = FeedbackOptions(k=100, depth=20, rerank_new=False)
    with pytest.raises(InputError, match="first 20 places"):
        options.check_useful(10)
    options.check_useful(21)
    options.check_useful(None)
    FeedbackOptions(k=100).check_useful(10)
    FeedbackOptions(k=100, rerank_new=False, fuse="rrf").check_useful(10)


def test_a_method_that_needs_scores_is_skipped_where_there_is_an_order(index):
    strategy, backend = SlidingWindow(inner=SingleToken()), Oracle(key=key)
    kept = Reranker(strategy, backend, on_error="keep_order")
    found = searcher(index, reranker=kept, method="refit", depth=30).search("q", QUERY)
    assert found.failed
    assert "needs scores" in found.skipped
    with pytest.raises(InputError, match="scores"):
        searcher(index, strategy, backend, method="refit", depth=30).search("q", QUERY)


def test_what_a_round_in_the_middle_found_is_kept(index):
    found = searcher(index, rounds=3, fuse="rrf", k=10).search("q", QUERY)
    everything = {hit.id for hit in found.hits}
    assert set(found.first) <= everything
    assert set(found.reranked) <= everything
    assert len(found.hits) == len(everything)
