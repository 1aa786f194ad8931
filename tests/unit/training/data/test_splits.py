"""Held-out queries: on one side alone, and the same ones for a seed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError
from rerank_plugins.training.data import TrainingList, split

QUERIES = st.lists(
    st.tuples(st.sampled_from(["", "1", "2", "3", "4"]), st.sampled_from("abcdef")),
    min_size=1,
    max_size=20,
)


def about(pairs):
    return [
        TrainingList(f"query  {text}", ("x", "y"), (0, number), query_id=name)
        for number, (name, text) in enumerate(pairs, start=1)
    ]


@given(QUERIES, st.floats(0.01, 0.99), st.integers(), st.randoms(use_true_random=False))
def test_no_query_is_on_both_sides(pairs, share, seed, chance):
    lists = about(pairs)
    try:
        train, held_out = split(lists, share, seed)
    except InputError:  # the names tie all of them together
        assert len({one.query for one in lists}) == 1 or any(one.query_id for one in lists)
        return
    assert train
    assert held_out
    assert not {one.query for one in train} & {one.query for one in held_out}
    ids = [{one.query_id for one in side} - {""} for side in (train, held_out)]
    assert not ids[0] & ids[1]
    for side in (train, held_out):  # both keep the order
        assert [one for one in lists if one in side] == side
    assert len(train) + len(held_out) == len(lists)
    mixed = list(lists)
    chance.shuffle(mixed)
    assert set(split(mixed, share, seed)[1]) == set(held_out)


def test_the_share_is_of_queries_and_case_and_spaces_make_no_other_query():
    lists = about([("", text) for text in "abcdefghij" for _ in range(3)])
    train, held_out = split(lists, 0.3, seed=0)
    assert (len(train), len(held_out)) == (21, 9)
    same = [TrainingList(q, ("a", "b"), (0, 1)) for q in ("A  flea", "a flea ", "dog")]
    train, held_out = split(same, 0.5, seed=0)
    assert {len(train), len(held_out)} == {1, 2}
    assert {one.query for one in (train if len(train) == 1 else held_out)} == {"dog"}


def test_seeds_hold_out_different_queries_and_shares_are_checked():
    lists = about([("", text) for text in "abcdefghij"])
    assert len({tuple(split(lists, 0.5, seed)[1]) for seed in range(10)}) > 5
    for share in (0, 1, -0.5, math.nan):
        with pytest.raises(InputError, match="share is"):
            split(lists, share, seed=0)
    with pytest.raises(InputError, match="1 queries cannot"):
        split(lists[:1], 0.5, seed=0)
