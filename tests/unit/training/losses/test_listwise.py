"""Losses over the order of a list: what is particular to each."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_definitions import double, lists, one_z_loss, scores_of, softplus

from rerank_plugins.errors import InputError
from rerank_plugins.training.losses import (
    RANKING_LOSSES,
    list_mle,
    listnet,
    z_loss,
)


def test_the_temperature_of_listnet_is_the_labels_alone():
    scores, labels = double([[0.3, 1.0, -2.0]]), double([[2, 0, 1]])
    assert listnet(scores, labels, temperature=0.5) == listnet(scores, 2 * labels)


@given(scores_of(min_size=4, max_size=4))
def test_the_likelihoods_of_all_orders_sum_to_one(scores):
    orders = itertools.permutations(range(4))
    losses = [list_mle(double([scores]), double([labels])).item() for labels in orders]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1)


def test_list_mle_of_three_passages_by_hand():
    """P(b, a, c) = e^b / (e^a + e^b + e^c) * e^a / (e^a + e^c)."""
    a, b, c = 0.2, -0.5, 1.5
    chosen = math.exp(b) / (math.exp(a) + math.exp(b) + math.exp(c))
    chosen *= math.exp(a) / (math.exp(a) + math.exp(c))
    assert list_mle(double([[a, b, c]]), double([[1, 2, 0]])).item() == pytest.approx(
        -math.log(chosen)
    )


def test_p_list_mle_of_a_hundred_passages_is_finite_in_single_precision():
    labels = torch.arange(300.0)[None]
    found = RANKING_LOSSES["p-list-mle"](torch.zeros(1, 300), labels).item()
    expected = sum(2.0**-k * math.log(300 - k) for k in range(60))
    assert found == pytest.approx(expected, rel=1e-5)


@given(lists(), st.floats(0.01, 100), st.floats(-50, 50), st.floats(0.2, 5), st.floats(-2, 1.2))
def test_z_loss_does_not_change_with_scale_and_shift(item, scale, shift, a, b):
    scores, labels, _ = item
    expected = one_z_loss(scores, labels, None, a, b)
    moved = double([scores]) * scale + shift
    assert z_loss(moved, double([labels]), a=a, b=b).item() == pytest.approx(expected, rel=1e-6)


def test_z_loss_of_equal_scores_is_that_of_the_mean():
    scores = torch.full((1, 3), 0.1, requires_grad=True)  # whose mean is not 0.1 in floats
    loss = z_loss(scores, torch.tensor([[1, 0, 0]]), a=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(softplus(2.0) / 2)
    assert (scores.grad == 0).all()


def test_z_loss_wants_a_deviation_that_some_score_can_have():
    scores, labels = torch.zeros(1, 5), torch.tensor([[1, 0, 0, 0, 0]])
    assert z_loss(scores, labels, b=1.99).isfinite()
    with pytest.raises(InputError, match="expected below 2: no score of 5 "):
        z_loss(scores, labels, b=2.0)
    with pytest.raises(InputError, match="expected below 1: no score of 2 "):
        z_loss(scores[:, :2], labels[:, :2])
    with pytest.raises(InputError, match="a is 0"):
        z_loss(scores, labels, a=0)
