"""Loading a model is no part of a ranking's seconds, whoever loads it and whoever waits for it."""

import asyncio
import threading
import time
from dataclasses import dataclass

import pytest

from rerank_plugins import BudgetError, Limits, Reranker
from rerank_plugins._loading import LoadingWatch, loading, watch_loading
from rerank_plugins._threads import in_thread
from rerank_plugins.backends import Balanced, Routed
from rerank_plugins.backends._base import LocalModel
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.middleware import cached, guarded, recorded, retried, traced
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

LOADING_S, ANSWER_S = 0.4, 0.1
TEXTS = ["a", "bb", "ccc"]


@dataclass
class Loaded:
    """Answers with the length of the passage, after a while."""

    answer_s: float

    @property
    def table(self):
        return {ScorePair: self.score}

    def score(self, calls):
        time.sleep(self.answer_s)
        return [Reply(float(len(call.passage))) for call in calls]


@dataclass(eq=False, repr=False, kw_only=True)
class Slow(LocalModel[Loaded]):
    """A local model that takes long to load."""

    model: object = "slow"
    token: object = None
    device: str = "auto"
    dtype: str = "auto"
    loading_s: float = LOADING_S
    answer_s: float = ANSWER_S
    kinds = frozenset({ScorePair})

    def _load(self):
        time.sleep(self.loading_s)
        return Loaded(self.answer_s)


class Spans:
    """A tracer without effect."""

    def start_as_current_span(self, name, *, attributes):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def set_attribute(self, key, value):
        pass


WRAPPED = {
    "alone": lambda backend, path: backend,
    "cached": lambda backend, path: cached(backend),
    "retried": lambda backend, path: retried(backend),
    "guarded": lambda backend, path: guarded(backend),
    "traced": lambda backend, path: traced(backend, Spans()),
    "recorded": lambda backend, path: recorded(backend, path / "calls.jsonl"),
    "balanced": lambda backend, path: Balanced((backend,)),
    "routed": lambda backend, path: Routed(pairs=backend, text=Oracle()),
    "many": lambda backend, path: cached(retried(Balanced((guarded(backend),)))),
}


def ranked(reranker, query, colour):
    if colour == "sync":
        return reranker.rank(query, TEXTS).usage
    return asyncio.run(reranker.arank(query, TEXTS)).usage


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("name", WRAPPED)
def test_the_first_ranking_takes_as_long_as_the_second(name, colour, tmp_path):
    reranker = Reranker(PairScore(), WRAPPED[name](Slow(), tmp_path))
    first, second = (ranked(reranker, query, colour) for query in ("one", "two"))
    assert max(first.seconds, second.seconds) < 2 * min(first.seconds, second.seconds)
    assert second.seconds >= ANSWER_S
    assert first.loading_seconds >= LOADING_S
    assert second.loading_seconds < LOADING_S / 10


def test_a_model_that_was_closed_is_loaded_again_and_apart():
    reranker = Reranker(PairScore(), Slow())
    reranker.warm_up()
    warm = reranker.rank("q", TEXTS).usage
    reranker.close()
    again = reranker.rank("q", TEXTS).usage
    assert warm.loading_seconds < LOADING_S / 10 < LOADING_S <= again.loading_seconds
    assert max(warm.seconds, again.seconds) < 2 * min(warm.seconds, again.seconds)


def test_who_waits_for_another_thread_s_loading_is_not_charged_for_it():
    slow, other = Reranker(PairScore(), Slow(answer_s=0.0)), Slow(loading_s=0.0, answer_s=LOADING_S)
    other.warm_up()
    barrier = threading.Barrier(4)

    def work(reranker):
        barrier.wait(60)
        return reranker.rank("q", TEXTS).usage

    jobs = [in_thread(lambda: work(slow)) for _ in range(3)]
    jobs.append(in_thread(lambda: work(Reranker(PairScore(), other))))
    *waited, beside = [job.future.result(60) for job in jobs]
    for usage in waited:
        assert usage.seconds < LOADING_S / 2
        assert usage.loading_seconds > LOADING_S / 2
    # another model's ranking at the same time goes on, and its clock does too
    assert beside.seconds >= LOADING_S
    assert beside.loading_seconds < LOADING_S / 10


def test_who_waits_for_its_turn_is_charged_for_that():
    backend = Slow(loading_s=0.0, answer_s=0.2)
    backend.warm_up()
    jobs = [in_thread(lambda: Reranker(PairScore(), backend).rank("q", TEXTS)) for _ in range(2)]
    usages = sorted((job.future.result(60).usage for job in jobs), key=lambda u: u.seconds)
    assert usages[1].seconds > 1.5 * 0.2
    assert usages[1].loading_seconds < 0.1


def test_a_model_that_is_closed_while_others_wait_is_loaded_outside_of_their_seconds():
    """As when an engine dies under a batch: those whose turn comes next wait for a new one."""

    class Dying(Slow):
        died = False

        def _answered(self, calls, loaded):
            found = super()._answered(calls, loaded)
            if not self.died:
                self.died = True
                self.close()
            return found

    backend = Dying()
    backend.warm_up()
    jobs = [in_thread(lambda: Reranker(PairScore(), backend).rank("q", TEXTS)) for _ in range(3)]
    usages = [job.future.result(60).usage for job in jobs]
    assert all(usage.seconds < LOADING_S for usage in usages)
    assert sum(usage.loading_seconds >= LOADING_S / 2 for usage in usages) == 2


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_rankings_that_run_together_each_report_the_loading_that_they_waited_for(colour):
    reranker, requests = Reranker(PairScore(), Slow()), [("one", TEXTS), ("two", TEXTS)]
    if colour == "sync":
        rankings = reranker.rank_many(requests)
    else:
        rankings = asyncio.run(reranker.arank_many(requests))
    for ranking in rankings:
        assert ranking.usage.loading_seconds >= LOADING_S
        assert ranking.usage.seconds < LOADING_S


def test_loading_counts_for_the_time_limit():
    limits = Limits(timeout_s=LOADING_S / 2)
    with pytest.raises(BudgetError, match=r"limit of 0\.2 seconds"):
        Reranker(PairScore(), Slow(), limits=limits).rank("q", TEXTS)
    late = Reranker(PairScore(), Slow(), limits=limits, on_error="keep_order").rank("q", TEXTS)
    # the loading is still under way
    assert late.report.fallbacks
    assert late.usage.loading_seconds > LOADING_S / 4
    assert late.usage.seconds < LOADING_S / 4


def test_two_that_load_at_the_same_time_are_counted_once():
    with watch_loading() as watch:
        jobs = [in_thread(Slow(loading_s=0.2).warm_up) for _ in range(3)]
        for job in jobs:
            job.future.result(60)
    assert 0.2 <= watch.seconds < 0.4


def test_watches_inside_each_other():
    with watch_loading() as outer:
        with loading(), loading():  # one inside another counts once
            time.sleep(0.02)
        with watch_loading() as inner, loading():
            time.sleep(0.02)
    assert 0.02 <= inner.seconds < outer.seconds
    before = outer.seconds
    with loading():
        time.sleep(0.01)
    assert outer.seconds == before


def test_a_watch_tells_the_time_of_a_loading_under_way_and_of_one_that_failed():
    def fail():
        with loading():
            time.sleep(0.02)
            assert watch.seconds >= 0.02
            raise ValueError("no model")

    with watch_loading() as watch, pytest.raises(ValueError, match="no model"):
        fail()
    found = watch.seconds
    time.sleep(0.01)
    assert watch.seconds == found >= 0.02
    assert LoadingWatch().seconds == 0.0
