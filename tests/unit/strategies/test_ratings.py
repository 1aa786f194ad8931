"""Ratings after an order: the figures of TrueSkill, and what must hold of any order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.strategies._ratings import Rating, threshold_of, updated

# From the package trueskill 0.4.5: mu=25, sigma=25/3, beta=25/6, tau=0, draw_probability=0.
PUBLISHED = [
    ([(25, 25 / 3)] * 2, [(29.205221, 7.194481), (20.794779, 7.194481)]),
    (
        [(25, 25 / 3)] * 4,
        [
            (32.677646, 6.408804),
            (27.216612, 5.827221),
            (22.783388, 5.827221),
            (17.322354, 6.408804),
        ],
    ),
    (
        [(20, 8), (25, 3), (30, 5), (22, 1), (28, 2)],
        [
            (30.961097, 5.273293),
            (26.420275, 2.664937),
            (27.981162, 3.654595),
            (22.081803, 0.983952),
            (26.679499, 1.891487),
        ],
    ),
]
ratings = st.lists(
    st.builds(Rating, st.floats(-100, 100), st.floats(0.1, 20)), min_size=1, max_size=8
)


@pytest.mark.parametrize(("before", "after"), PUBLISHED, ids=["two", "four", "unequal"])
def test_the_figures_of_trueskill(before, after):
    found = updated([Rating(*each) for each in before])
    for rating, (mean, deviation) in zip(found, after, strict=True):
        assert rating.mean == pytest.approx(mean, abs=1e-4)
        assert rating.deviation == pytest.approx(deviation, abs=1e-4)


@given(ratings)
def test_an_order_makes_everything_surer_and_moves_its_ends_outwards(before):
    after = updated(before)
    for old, new in zip(before, after, strict=True):
        assert new.deviation <= old.deviation + 1e-9
    assert after[0].mean >= before[0].mean - 1e-9
    assert after[-1].mean <= before[-1].mean + 1e-9


def test_one_alone_is_told_nothing():
    assert updated([Rating(3.0, 2.0)]) == [Rating(3.0, 2.0)]
    assert updated([]) == []


def test_what_is_nearly_impossible_has_a_rating_too():
    loser, winner = updated([Rating(-1000.0, 1.0), Rating(1000.0, 1.0)])
    assert -1000 < loser.mean < 1000
    assert -1000 < winner.mean < 1000


@given(ratings, st.floats(0.1, 0.9))
def test_as_many_are_expected_above_the_threshold_as_are_wanted(before, share):
    wanted = share * len(before)
    threshold = threshold_of(before, wanted)
    assert sum(rating.above(threshold) for rating in before) == pytest.approx(wanted, abs=1e-6)
