"""Probabilities fitted to judgements, with values from their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage, Ranking, Reranker
from rerank_plugins.evaluation import (
    Probabilities,
    ScoredList,
    brier_score,
    calibrate,
    calibration_error,
    fit_probabilities,
)
from rerank_plugins.strategies import Calibrated, PairScore
from rerank_plugins.testing import Oracle

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


@given(PAIRS)
def test_the_brier_score_is_the_mean_squared_difference(pairs):
    p, y = zip(*pairs, strict=True)
    expected = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
    assert brier_score(p, y) == pytest.approx(expected)


@given(PAIRS, st.integers(1, 20))
def test_the_calibration_error_by_bins(pairs, bins):
    expected = 0.0
    for b in range(bins):
        held = [(p, y) for p, y in pairs if int(bins * p) == b or (p == 1 and b == bins - 1)]
        if held:
            share = sum(y for _, y in held) / len(held)
            mean = sum(p for p, _ in held) / len(held)
            expected += abs(share - mean) * len(held) / len(pairs)
    assert calibration_error(*zip(*pairs, strict=True), bins=bins) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [brier_score, calibration_error])
@pytest.mark.parametrize(
    ("p", "y"), [([], []), ([0.5], []), ([1.5], [True]), ([math.nan], [True]), ([-0.1], [False])]
)
def test_what_is_no_probability_is_refused(measure, p, y):
    with pytest.raises(InputError):
        measure(p, y)


def drawn(n=400, seed=0, placed=False, **numbers):
    """Lists whose passages are relevant with the probabilities that the numbers say."""
    rng, truth = np.random.default_rng(seed), Probabilities(**numbers)
    lists = []
    for _ in range(n):
        scores = tuple(rng.normal(size=20))
        one = ScoredList(scores=scores, relevant=(False,) * 20, placed=placed)
        relevant = rng.random(20) < truth.of(one)
        lists.append(ScoredList(scores=scores, relevant=tuple(map(bool, relevant)), placed=placed))
    return lists


def test_the_numbers_that_made_the_judgements_are_found():
    found = fit_probabilities(drawn(slope=2.0, intercept=-1.0))
    assert (found.slope, found.intercept) == pytest.approx((2.0, -1.0), abs=0.1)
    assert (found.places, found.unplaced) == (0.0, 0.0)


def test_the_weight_of_places_is_found():
    lists = drawn(800, placed=True, slope=2.0, intercept=-3.0, places=12.0, k=2.0)
    found = fit_probabilities(lists, order=None)
    truth = Probabilities(slope=2.0, intercept=-3.0, places=12.0, k=2.0)
    assert found.slope == pytest.approx(2.0, abs=0.1)
    assert found.of(lists[0]) == pytest.approx(truth.of(lists[0]), abs=0.05)
    plain = fit_probabilities(lists)
    assert (plain.places, plain.unplaced) == (0.0, 0.0)
    # what stands for a place keeps the mean probability of lists without scores
    made = calibrate(lists, order=None)
    assert made.unplaced.mean == pytest.approx(made.unplaced.relevant, abs=0.01)
    assert made.after.brier < made.unplaced.brier


@pytest.mark.parametrize("placed", [True, False])
def test_an_order_that_is_given_stays(placed):
    truth = {"slope": 2.0, "intercept": -3.0, "places": 6.0, "k": 2.0}
    lists = drawn(100, placed=placed, unplaced=2.0, **truth)
    order = Probabilities(slope=1.0, intercept=7.0, places=9.0, k=5.0, unplaced=1.0)
    found = fit_probabilities(lists, order=order)
    if placed:
        assert found.places / found.slope == pytest.approx(9.0)
        assert found.k == 5.0
    else:
        assert found.places == 0.0  # no list says what a place is worth
    for one in lists:
        assert np.array_equal(np.argsort(found.odds(one)), np.argsort(order.odds(one)))


def test_probabilities_of_held_out_queries_are_true():
    made = calibrate(drawn(slope=2.0, intercept=-1.0))
    assert made.after.error < 0.02
    assert made.after.brier < made.after.constant
    assert made.unplaced is None
    assert len(made.held_out) == 400


def test_the_targets_are_platt_s():
    """At the optimum the mean probability is the mean target (the constant's derivative is 0)."""
    lists = drawn(20, slope=1.0, intercept=0.0)
    n = sum(sum(one.relevant) for one in lists)
    m = 400 - n
    target = (n * (n + 1) / (n + 2) + m / (m + 2)) / 400
    found = fit_probabilities(lists)
    assert np.mean([found.of(one) for one in lists]) == pytest.approx(target, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_separable_scores_give_finite_numbers(scale):
    """With two scores, two numbers can give both targets: 11/12, and 1/12."""
    lists = [ScoredList(scores=(scale, -scale), relevant=(True, False))] * 10
    found = fit_probabilities(lists)
    assert all(map(math.isfinite, (found.slope, found.intercept)))
    assert found.of(lists[0]) == pytest.approx([11 / 12, 1 / 12], abs=1e-3)


@given(st.integers(0, 50), st.floats(0.1, 5), st.floats(-3, 3))
def test_folds_are_seeded(seed, slope, intercept):
    lists = drawn(10, seed=1, slope=1.0, intercept=0.0)
    one, same = (calibrate(lists, seed=seed) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.held_out, same.held_out, strict=True))
    own = Probabilities(slope=slope, intercept=intercept).of(lists[0])
    assert list(np.argsort(own)) == list(np.argsort(lists[0].scores))  # the order is the scores'


def test_held_out_queries_have_no_part_in_their_numbers():
    lists = drawn(40, slope=1.0, intercept=0.0)
    flipped = ScoredList(scores=lists[0].scores, relevant=tuple(not r for r in lists[0].relevant))
    other = calibrate([flipped, *lists[1:]])
    assert np.array_equal(calibrate(lists).held_out[0], other.held_out[0])


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_the_formula_is_that_of_the_strategy(scores, first):
    numbers = {"slope": 1.5, "intercept": -0.5, "places": 3.0, "k": 1.0, "unplaced": 0.25}
    model = Oracle(key=lambda query, passage: float(passage))
    passages = [Passage(str(s), score=float(f)) for s, f in zip(scores, first, strict=False)]
    inner = Reranker(PairScore(), model).rank("q", passages)
    ranking = Reranker(Calibrated(PairScore(), **numbers), model).rank("q", passages)
    one = ScoredList.of(inner, passages, [False] * len(passages))
    own = dict(zip(ranking.order, ranking.scores, strict=True))
    assert Probabilities(**numbers).of(one) == pytest.approx([own[i] for i in range(len(own))])


def some(n, relevant, scores=(1.0, 0.0)):
    return [ScoredList(scores=scores, relevant=relevant)] * n


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ([], "too few"),
        (some(9, (True, False)), "too few"),
        (some(20, (True, True)), "all are relevant"),
        (some(20, (False, False)), "none is relevant"),
        (some(20, (True, False), scores=(1.0, 1.0)), "equal"),
        (some(20, (False, True)), "better scores"),
    ],
)
def test_what_cannot_be_fitted_is_refused(lists, said):
    with pytest.raises(InputError, match=said):
        calibrate(lists)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_none_is_refused(score):
    with pytest.raises(InputError, match="finite"):
        ScoredList(scores=(score,), relevant=(True,))
    with pytest.raises(InputError, match="judgements"):
        ScoredList(scores=(1.0,), relevant=())


@pytest.mark.parametrize("order", [None, Probabilities(slope=1.0, intercept=0.0)])
@pytest.mark.parametrize("one", [(1e100, -1e100), (1e100, 0.0)])
def test_the_largest_scores_are_fitted(one, order):
    found = fit_probabilities(some(20, (True, False), scores=one), order=order)
    assert all(map(math.isfinite, found.of(some(1, (True, False), scores=one)[0])))
    with pytest.raises(InputError, match=r"1e\+300 from 0, expected at most 1e\+100"):
        ScoredList(scores=(1.0, -1e300), relevant=(True, False))


@pytest.mark.parametrize("kind", ["rank", "z-score"])
def test_scores_that_compare_within_one_list_are_refused(kind):
    ranking = Ranking((1, 0), (1.0, 0.5), kind)
    with pytest.raises(InputError, match="another query"):
        ScoredList.of(ranking, ["a", "b"], [True, False])


def test_places_that_count_against_relevance_are_left_out():
    lists = drawn(200, slope=1.0, intercept=0.0)
    turned = [
        ScoredList(
            scores=one.scores,
            relevant=tuple(r or i > 15 for i, r in enumerate(one.relevant)),
            placed=True,
        )
        for one in lists
    ]
    assert fit_probabilities(turned, order=None).places == 0.0
