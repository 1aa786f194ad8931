"""Overlapping windows of one round: how they overlap, and how many of the best they find."""

import random
from collections import Counter
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import Reranker
from rerank_plugins.strategies import JointRank, SingleToken
from rerank_plugins.strategies._joint_rank import blocks
from rerank_plugins.testing import Oracle

FIRST = SingleToken()


def ranked(strategy, places):
    oracle = Oracle(key=lambda query, passage: -float(places[int(passage)]))
    return Reranker(strategy, oracle).rank("q", [str(i) for i in range(len(places))])


@given(st.integers(1, 120), st.integers(2, 26), st.integers(1, 6))
def test_every_passage_is_in_as_many_blocks_as_repeats_and_every_row_in_every_block(n, size, times):
    found = blocks(n, size, times)
    columns = -(-n // size)
    repeats = len(found) // columns
    assert 1 <= repeats <= times
    assert Counter(i for block in found for i in block) == dict.fromkeys(range(n), repeats)
    for block in found:
        assert len(block) <= size
        assert [i // columns for i in block] == list(range(len(block)))
    assert len(set(map(tuple, found[::columns]))) == repeats or n <= columns  # no division twice


def test_two_blocks_of_a_hundred_share_four_passages():
    found = blocks(100, 20, 2)
    assert len(found) == 10
    assert {len(set(a) & set(b)) for a in found[:5] for b in found[5:]} == {4}


@pytest.mark.parametrize("aggregate", ["pagerank", "copeland", "borda"])
def test_nearly_all_of_the_best_ten_are_found_in_one_round(aggregate):
    """Two windows a passage cannot tell the tenth from the eleventh for sure; three find more."""
    found = {2: [], 4: []}
    for seed in range(20):
        places = random.Random(seed).sample(range(100), 100)
        for repeats, shares in found.items():
            ranking = ranked(JointRank(FIRST, repeats=repeats, aggregate=aggregate), places)
            assert (ranking.usage.calls, ranking.usage.batches) == (5 * repeats, 1)
            shares.append(sum(places[i] < 10 for i in ranking.order[:10]))
            assert sum(places[i] < 10 for i in ranking.order[:20]) >= 9
    assert fmean(found[2]) >= (8.8 if aggregate == "pagerank" else 8)
    assert fmean(found[4]) > fmean(found[2])


@given(st.permutations(range(23)), st.integers(2, 9), st.integers(1, 3))
def test_the_order_is_pagerank_over_all_windows(places, size, repeats):
    """Stated anew: a matrix of votes, multiplied until nothing changes."""
    np = pytest.importorskip("numpy")
    n, columns = 23, -(-23 // size)
    total = columns * -(-n // columns)  # the last row is filled with passages that lose
    wins = np.zeros((total, total))
    for block in blocks(total, size, repeats):
        items = sorted(block, key=lambda i: (i >= n, places[i] if i < n else 0))
        for place, winner in enumerate(items):
            wins[winner, items[place + 1 :]] += 1
    lost = wins.sum(axis=0)
    votes = np.where(lost > 0, wins / np.where(lost > 0, lost, 1), 1 / len(wins))
    ranks = np.full(len(wins), 1 / len(wins))
    for _ in range(300):
        ranks = 0.15 / len(wins) + 0.85 * votes @ ranks
    score = [round(len(wins) * value, 7) for value in ranks[:n]]
    order = ranked(JointRank(FIRST, size=size, repeats=repeats), places).order
    assert [score[i] for i in order] == sorted(score, reverse=True)


@pytest.mark.parametrize("n", range(21, 121, 7))
def test_a_list_whose_windows_keep_their_order_keeps_its_own(n):
    ranking = ranked(JointRank(FIRST), list(range(n)))
    assert ranking.order == tuple(range(n))
