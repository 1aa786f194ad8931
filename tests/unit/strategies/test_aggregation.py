"""Orders from pairwise preferences, against their definitions."""

import itertools
import random

import pytest

from rerank_plugins.strategies._aggregation import (
    EXACT_PATH,
    best_path,
    borda,
    copeland,
    page_rank,
    weight,
)


def matrix(n, seed):
    source = random.Random(seed)
    found = [[0.0] * n for _ in range(n)]
    for i, j in itertools.combinations(range(n), 2):
        found[i][j] = source.random()
        found[j][i] = 1.0 - found[i][j]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_best_path_is_the_best_of_all_permutations(seed):
    n = 2 + seed % 6
    preferences = matrix(n, seed)
    best = max(weight(p, preferences) for p in itertools.permutations(range(n)))
    assert weight(best_path(preferences), preferences) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_the_long_path_is_close_to_the_exact_one(seed, monkeypatch):
    preferences = matrix(EXACT_PATH, seed)
    exact = weight(best_path(preferences), preferences)
    monkeypatch.setattr("rerank_plugins.strategies._aggregation.EXACT_PATH", 2)
    found = best_path(preferences)
    assert sorted(found) == list(range(EXACT_PATH))
    assert weight(found, preferences) >= 0.9 * exact


@pytest.mark.parametrize("aggregate", [copeland, borda, best_path, page_rank])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 11, 40])
def test_a_consistent_matrix_gives_its_order_and_ties_the_input_order(aggregate, n):
    places = list(range(n))
    random.Random(n).shuffle(places)
    sure = [[float(places[i] < places[j]) for j in range(n)] for i in range(n)]
    assert aggregate(sure) == tuple(sorted(range(n), key=lambda i: places[i]))
    assert aggregate([[0.5] * n for _ in range(n)]) == tuple(range(n))


def test_a_cycle_is_a_draw_for_copeland_and_a_path_for_the_path():
    """0 beats 1 surely, 1 beats 2, 2 beats 0 by little: the path gives up the weakest edge."""
    cycle = [[0, 0.9, 0.4], [0.1, 0, 0.8], [0.6, 0.2, 0]]
    assert copeland(cycle) == (0, 1, 2)
    assert best_path(cycle) == (0, 1, 2)
    weak_first = [[0, 0.6, 0.1], [0.4, 0, 0.8], [0.9, 0.2, 0]]
    assert copeland(weak_first) == (0, 1, 2)
    assert best_path(weak_first) == (1, 2, 0)
