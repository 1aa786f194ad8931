"""Schedules of windows: the best ten of a hundred, and costs that are known before they run."""

import itertools
import random
from statistics import fmean

import pytest

from rerank_plugins import InputError, Reranker
from rerank_plugins.calls import ScorePair
from rerank_plugins.strategies import (
    AcuRank,
    BlitzRank,
    Cascade,
    Consensus,
    Groupwise,
    JointRank,
    KeepOrder,
    PairScore,
    Pairwise,
    Permutation,
    Pointwise,
    PointwiseGrade,
    QueryLikelihood,
    Setwise,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
)
from rerank_plugins.testing import Failing, Oracle

HUNDRED = [f"{' '.join(['word'] * 60)} {i}" for i in range(100)]
FIRST = SingleToken()
EXACT = {
    "sliding window": SlidingWindow(FIRST),
    "sliding window, 3 passes": SlidingWindow(FIRST, size=10, stride=5, passes=3),
    "written": SlidingWindow(Permutation()),
    "reasoning": SlidingWindow(Permutation(prompt="reasonrank.v1")),
    "top-down": TopDown(FIRST),
    "top-down, narrow": TopDown(FIRST, size=8),
    "tournament": Tournament(FIRST),
    "joint rank, and a final": Cascade(first=JointRank(FIRST), then=FIRST, depth=20),
    "blitz rank": BlitzRank(FIRST),
    "blitz rank, narrow": BlitzRank(FIRST, size=8),
    "acu rank": AcuRank(FIRST),
    "setwise heap": Setwise(),
    "setwise bubble": Setwise(method="bubble"),
    "setwise written": Setwise(answer="written"),
    "rank-r1": Setwise(prompt="rank-r1.v1", answer="written", others=19),
    "groupwise": Groupwise(weight=1.0),
    "groupwise, twice": Groupwise(weight=1.0, repeats=2),
    "yes or no": Pointwise(),
    "grades": PointwiseGrade(),
    "expected grades": PointwiseGrade(expectation=True),
    "cross-encoder": PairScore(),
    "query likelihood": QueryLikelihood(),
    "copeland": Pairwise(),
    "borda": Pairwise(aggregate="borda"),
    "path": Pairwise(aggregate="path"),
    "cascade": Cascade(first=PairScore(), then=SlidingWindow(Permutation())),
    "consensus": Consensus(SlidingWindow(FIRST), passes=3),
}


def truth(seed):
    """The place of every passage in a random order, 0 the best."""
    places = list(range(100))
    random.Random(seed).shuffle(places)
    return dict(zip(HUNDRED, places, strict=True))


def oracle(place):
    return Oracle(
        key=lambda query, passage: 1.0 - place[passage] / 100,
        grade=lambda key: max(0, 10 - round(100 * (1 - key))),  # tells the best ten apart
    )


@pytest.mark.parametrize("name", EXACT)
def test_the_best_ten_of_a_hundred_are_found_in_order(name):
    for seed in (1,) if name in ("copeland", "borda", "path") else range(5):
        place = truth(seed)
        ranking = Reranker(EXACT[name], oracle(place)).rank("query", HUNDRED)
        assert [place[HUNDRED[i]] for i in ranking.order[:10]] == list(range(10))


def test_top_down_needs_two_thirds_of_the_tokens_and_a_third_of_the_depth():
    """On average; a query whose best passages met in one window pays for a third round."""
    shares = []
    for seed in range(100):
        place = truth(seed)
        down = Reranker(TopDown(FIRST), oracle(place)).rank("query", HUNDRED)
        slide = Reranker(SlidingWindow(FIRST), oracle(place)).rank("query", HUNDRED)
        assert down.order[:10] == slide.order[:10]
        assert down.usage.batches <= slide.usage.batches / 3
        shares.append(down.usage.prompt_tokens / slide.usage.prompt_tokens)
    assert fmean(shares) <= 0.70
    assert max(shares) <= 0.75


@pytest.mark.parametrize("n", [0, 1, 2, 19, 20, 21, 40, 99, 100, 101, 137, 400, 1000])
@pytest.mark.parametrize(
    "schedule",
    [
        SlidingWindow(FIRST),
        SlidingWindow(FIRST, size=7, stride=3, passes=4),
        TopDown(FIRST),
        TopDown(FIRST, size=8, top_m=5),
        TopDown(FIRST, size=6, top_m=20),
        Tournament(FIRST),
        Tournament(FIRST, size=5),
        JointRank(FIRST),
        JointRank(FIRST, size=7, repeats=3),
    ],
    ids=repr,
)
def test_the_cost_is_said_before_it_is_spent(schedule, n):
    said = schedule.cost(n)
    usage = Reranker(schedule, Oracle(seed=n)).rank("q", [f"p {i}" for i in range(n)]).usage
    if isinstance(schedule, TopDown):  # which finals are needed depends on the answers
        assert usage.calls <= said.calls
        assert usage.batches <= said.depth
    else:
        assert (usage.calls, usage.batches) == (said.calls, said.depth)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [4, 5, 8, 13, 20])
def test_top_down_is_exact_for_every_size(seed, size):
    place = truth(seed)
    found = Reranker(TopDown(FIRST, size=size, top_m=7), oracle(place)).rank("q", HUNDRED)
    assert [place[HUNDRED[i]] for i in found.order[:7]] == list(range(7))


@pytest.mark.parametrize(
    "outer",
    [
        lambda inner: SlidingWindow(inner, size=4, stride=2),
        lambda inner: TopDown(inner, size=4),
        lambda inner: Tournament(inner, size=4),
        lambda inner: JointRank(inner, size=4),
        lambda inner: BlitzRank(inner, size=4),
        lambda inner: AcuRank(inner, size=4, top_m=3),
        lambda inner: Consensus(inner, passes=4),
        lambda inner: Cascade(first=QueryLikelihood(), then=inner, depth=4),
    ],
)
def test_what_is_known_of_a_part_is_not_taken_for_the_whole(outer):
    """The third pair fails; its window knows an order of its own four passages."""
    count = itertools.count(1)
    failing = Failing(when=lambda call: isinstance(call, ScorePair) and next(count) == 3)
    ranking = Reranker(KeepOrder(outer(PairScore())), failing).rank("q", list("abcdefghij"))
    assert sorted(ranking.order) == list(range(10))
    assert ranking.report.fallbacks
    if not isinstance(outer(PairScore()), Cascade):  # whose first stage has ranked everything
        assert ranking.order == tuple(range(10))


def test_a_tournament_repeated_is_a_consensus():
    place = truth(3)
    noisy = Oracle(key=lambda q, p: 1.0 - place[p] / 100, noise=0.1, seed=3)
    found = Reranker(Consensus(Tournament(FIRST), passes=5), noisy).rank("q", HUNDRED)
    assert found.usage.calls == 5 * Tournament(FIRST).cost(100).calls
    assert found.usage.batches == Tournament(FIRST).cost(100).depth


@pytest.mark.parametrize(
    "build",
    [
        lambda: SlidingWindow(FIRST, passes=0),
        lambda: TopDown(FIRST, size=3),
        lambda: TopDown(FIRST, top_m=0),
        lambda: TopDown(FIRST, size=27),
        lambda: TopDown("single-token"),
        lambda: Tournament(FIRST, size=1),
        lambda: Tournament(FIRST, size=30),
        lambda: JointRank(FIRST, repeats=0),
        lambda: JointRank(FIRST, aggregate="path"),
        lambda: JointRank(FIRST, size=1),
        lambda: BlitzRank(FIRST, top_m=0),
        lambda: BlitzRank("single-token"),
        lambda: AcuRank(FIRST, tolerance=0.5),
        lambda: AcuRank(FIRST, tolerance=0),
        lambda: AcuRank(FIRST, max_calls=0),
        lambda: AcuRank(FIRST, size=27),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(build):
    with pytest.raises(InputError):
        build()
