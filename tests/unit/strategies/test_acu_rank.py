"""Windows of uncertain passages: equal to the schedule stated anew, and when it ends."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugins.plans import run
from rerank_plugins.ranking import Ranking
from rerank_plugins.strategies import AcuRank
from rerank_plugins.strategies._ratings import Rating, updated


class Answers:
    """Orders a window by an answer that depends on its passages and on nothing else."""

    def __init__(self, order):
        self.order = order
        self.windows = []

    def rank(self, query, passages):
        items = [int(p) for p in passages]
        self.windows.append(items)
        return Ranking(tuple(items.index(i) for i in self.order(items)))
        yield  # a plan that asks nothing


def by_chance(seed):
    return lambda items: random.Random(f"{seed} {items}").sample(items, len(items))


def ranked(n, order, **options):
    inner = Answers(order)
    plan = AcuRank(inner, **options).rank("q", [str(i) for i in range(n)])
    return run(plan, None), inner.windows


def stated_anew(n, size, top_m, tolerance, most, order):
    """With the published formulas: P(x > t) of a normal distribution, and t by bisection."""
    mean = [25 + 25 / 3 * (0.5 - i / (n - 1)) for i in range(n)]
    spread = [25 / 3] * n
    asked = []

    def chance(i, t):
        return 0.5 * (1 + math.erf((mean[i] - t) / spread[i] / math.sqrt(2)))

    while True:
        low, high = -1000.0, 1000.0
        for _ in range(200):
            t = (low + high) / 2
            low, high = (t, high) if sum(chance(i, t) for i in range(n)) > top_m else (low, t)
        sure = {i: chance(i, t) for i in range(n)}
        unsure = [i for i in range(n) if tolerance < sure[i] < 1 - tolerance or not asked]
        final = len(unsure) < max(top_m, 2) or len(asked) >= most
        chosen = [i for i in range(n) if sure[i] > tolerance or not asked] if final else unsure
        chosen.sort(key=lambda i: -mean[i])
        windows = math.ceil(len(chosen) / size)
        for k in range(windows):
            window = sorted(chosen[k::windows])
            best_first = order(window) if len(window) > 1 else window
            asked.append(window)
            for i, new in zip(
                best_first, updated([Rating(mean[i], spread[i]) for i in best_first]), strict=True
            ):
                mean[i], spread[i] = new.mean, new.deviation
        if final:
            return [w for w in asked if len(w) > 1], chosen, best_first, mean


@settings(deadline=None)
@given(st.integers(6, 30), st.integers(2, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_the_same_windows_and_order_as_stated_anew(n, size, top_m, seed):
    found, windows = ranked(n, by_chance(seed), size=size, top_m=top_m, max_calls=30)
    expected, chosen, last, mean = stated_anew(n, size, top_m, 0.01, 30, by_chance(seed))
    assert windows == expected
    top = last if len(chosen) <= size else []
    rest = sorted(set(range(n)) - set(top), key=lambda i: -mean[i])
    kept = all(by_chance(seed)(window) == window for window in windows)
    assert list(found.order) == (list(range(n)) if kept else [*top, *rest])


@pytest.mark.parametrize("n", [0, 1, 2, 20])
def test_a_list_of_one_window_is_one_window(n):
    found, windows = ranked(n, lambda items: items[::-1])
    assert found.order == tuple(range(n))[::-1]
    assert len(windows) == (n > 1)


@pytest.mark.parametrize("n", [21, 50, 100, 150])
def test_a_list_whose_windows_keep_their_order_keeps_its_own(n):
    found, windows = ranked(n, lambda items: items)
    assert found.order == tuple(range(n))
    assert len(windows) > 1


@pytest.mark.parametrize("most", [1, 5, 6, 11])
def test_no_round_begins_after_the_most_calls(most):
    """The first round has five windows, and the last one has all that may be among the best."""
    _, windows = ranked(100, by_chance(0), max_calls=most)
    _, unlimited = ranked(100, by_chance(0))
    assert len(windows) <= most + 4 + 5
    assert len(windows) <= len(unlimited)
    assert windows[:5] == unlimited[:5]


def test_a_list_in_the_right_order_needs_no_more_windows_than_others():
    _, easy = ranked(100, lambda items: items)
    for seed in range(5):
        places = random.Random(seed).sample(range(100), 100)
        _, hard = ranked(100, lambda items, places=places: sorted(items, key=lambda i: places[i]))
        assert len(easy) <= len(hard)


def test_more_places_than_passages_are_ranked_once():
    found, windows = ranked(30, lambda items: items[::-1], size=10, top_m=50)
    assert sorted(found.order) == list(range(30))
    assert len(windows) == 3


@pytest.mark.parametrize(("top_m", "tolerance"), [(1, 0.01), (1, 0.05), (10, 0.2), (10, 0.3)])
@pytest.mark.parametrize("n", [21, 100, 300])
def test_every_passage_is_read_whatever_its_place(n, top_m, tolerance):
    found, windows = ranked(n, lambda items: items[::-1], top_m=top_m, tolerance=tolerance)
    assert {i for window in windows for i in window} == set(range(n))
    assert found.order[0] == n - 1
