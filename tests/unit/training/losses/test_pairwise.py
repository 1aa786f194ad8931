"""Losses over pairs: what is particular to each."""

import math

import pytest
import torch
from loss_definitions import double, softplus

from rerank_plugins.training.losses import (
    lambda_loss,
    ranknet,
)


def test_plain_ranknet_has_no_weights():
    scores, ranks = double([[0.4, -0.2, 1.0]]), torch.tensor([[3, 1, 2]])
    expected = (softplus(1.0 + 0.2) + softplus(0.4 + 0.2) + softplus(0.4 - 1.0)) / 3
    assert ranknet(scores, ranks, weighted=False).item() == pytest.approx(expected)


def test_tied_ranks_make_no_pair():
    loss = ranknet(double([[5.0, -5.0, 0.0]]), torch.tensor([[1, 1, 2]]))
    assert loss.item() == pytest.approx((softplus(-5.0) + softplus(5.0)) / 2 / 3)


def test_lambda_loss_with_labels_as_large_as_logits():
    """Gains are 2^y: they overflow unless both parts of the fraction are scaled."""
    loss = lambda_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[5000.0, 0.0]]))
    assert loss.item() == pytest.approx((1 - 1 / math.log2(3)) * softplus(1.0) / math.log(2))


def test_lambda_loss_gives_negative_grades_the_gain_of_zero():
    one, other = (
        lambda_loss(double([[0.3, 0.1, 0.2]]), double([[2, low, 0]])) for low in (-1.0, -5.0)
    )
    assert one == other
    assert lambda_loss(double([[0.3, 0.1]]), double([[-1, -2]])).item() == 0


def test_sigma_scales_differences():
    scores, labels = double([[0.3, 1.0, -2.0]]), double([[2, 0, 1]])
    found = lambda_loss(scores, labels, sigma=3.0)
    assert found.item() == pytest.approx(lambda_loss(3 * scores, labels).item())
