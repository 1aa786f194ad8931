"""Windows until the best are certain: equal to the schedule stated anew, one window at a time."""

import random

from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import Reranker
from rerank_plugins.plans import run
from rerank_plugins.ranking import Ranking
from rerank_plugins.strategies import BlitzRank, SingleToken, SlidingWindow
from rerank_plugins.testing import Oracle

HUNDRED = [f"{' '.join(['word'] * 60)} {i}" for i in range(100)]


class Answers:
    """Orders a window by an answer that depends on its passages and on nothing else."""

    def __init__(self, order):
        self.order = order
        self.windows = []

    def rank(self, query, passages):
        self.windows.append([int(p) for p in passages])
        ranked = self.order([int(p) for p in passages])
        place = {i: k for k, i in enumerate(map(int, passages))}
        return Ranking(tuple(place[i] for i in ranked))
        yield  # a plan that asks nothing


def by_chance(seed):
    return lambda items: random.Random(f"{seed} {items}").sample(items, len(items))


def stated_anew(n, size, top_m, order):
    """One window after the other over a graph of single edges; reachability by search."""
    edges = {i: set() for i in range(n)}
    windows = []

    def reached(start, reverse=False):
        seen, todo = set(), [start]
        while todo:
            i = todo.pop()
            step = {j for j in range(n) if i in edges[j]} if reverse else edges[i]
            todo += step - seen
            seen |= step
        return seen

    while True:
        under = {i: reached(i) for i in range(n)}
        over = {i: {j for j in range(n) if i in under[j]} for i in range(n)}
        level = {i: (under[i] & over[i]) | {i} for i in range(n)}
        key = {i: (len(over[i] - level[i]), len(under[i] - level[i]), i) for i in range(n)}
        ranked = sorted(range(n), key=key.get)
        unknown = {i for i in range(n) if len(under[i] | over[i] | {i}) < n}
        if not unknown & set(ranked[:top_m]):
            return windows, under, level
        first = [i for i in ranked if i in unknown and i == min(level[i], key=ranked.index)]
        window = sorted(first[:size])
        windows.append(window)
        answer = order(window)
        for place, winner in enumerate(answer):
            edges[winner] |= set(answer[place + 1 :])


@given(st.integers(0, 24), st.integers(2, 7), st.integers(1, 8), st.integers(0, 10**6))
def test_the_same_windows_as_one_after_the_other_and_an_order_that_no_answer_contradicts(
    n, size, top_m, seed
):
    inner = Answers(by_chance(seed))
    found = run(
        BlitzRank(inner, size=size, top_m=top_m).rank("q", [str(i) for i in range(n)]), None
    )
    assert sorted(found.order) == list(range(n))
    if n <= size:
        assert len(inner.windows) == (n > 1)
        return
    windows, under, level = stated_anew(n, size, top_m, by_chance(seed))
    assert inner.windows == windows
    for place, i in enumerate(found.order):
        assert all(i not in under[j] or j in level[i] for j in found.order[place + 1 :])


@given(st.integers(0, 60), st.integers(2, 20), st.integers(1, 12), st.integers(0, 999))
def test_the_best_are_exactly_right_with_a_model_that_is(n, size, top_m, seed):
    places = random.Random(seed).sample(range(n), n)
    inner = Answers(lambda items: sorted(items, key=lambda i: places[i]))
    found = run(
        BlitzRank(inner, size=size, top_m=top_m).rank("q", [str(i) for i in range(n)]), None
    )
    wanted = min(n, top_m)
    assert [places[i] for i in found.order[:wanted]] == list(range(wanted))


def test_fewer_tokens_than_a_window_that_slides():
    tokens = []
    for seed in range(20):
        place = dict(zip(HUNDRED, random.Random(seed).sample(range(100), 100), strict=True))
        oracle = Oracle(key=lambda query, passage, place=place: -float(place[passage]))
        blitz, slide = (
            Reranker(schedule(SingleToken()), oracle).rank("q", HUNDRED)
            for schedule in (BlitzRank, SlidingWindow)
        )
        assert blitz.order[:10] == slide.order[:10]
        tokens.append(blitz.usage.prompt_tokens / slide.usage.prompt_tokens)
        assert blitz.usage.batches <= 4
    assert sum(tokens) / len(tokens) < 0.85


def test_level_passages_are_ordered_by_the_others_that_they_beat():
    """0 > 1 > 2, then 1 > 3 > 0: the three are level, 1 beats 3, 3 beats 0, and 0 and 1 a draw."""
    answers = {(0, 1, 2): [0, 1, 2], (0, 1, 3): [1, 3, 0]}
    inner = Answers(lambda window: answers[tuple(window)])
    found = run(BlitzRank(inner, size=3, top_m=4).rank("q", ["0", "1", "2", "3"]), None)
    assert found.order == (1, 3, 0, 2)
