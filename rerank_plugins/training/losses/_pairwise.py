"""Losses over pairs of passages, one of which is better."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..._checks import positive
from ._padding import better, gaps, has_several, mean_over_lists, mean_over_pairs, places, prepared


def ranknet(
    scores: Tensor, ranks: Tensor, where: Tensor | None = None, *, weighted: bool = True
) -> Tensor:
    r"""RankNet over ranks, with the weights of FIRST.

    .. math::
        L = \frac{1}{P} \sum_{r_i < r_j} \frac{\log(1 + e^{-(s_i - s_j)})}{r_i + r_j}

    with ``P`` the number of such pairs of the list: the sum of the weights does not divide it.

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        ranks: ``r``, 1 is the best, the same shape. Equal ranks make no pair.
        where: False at padding, the same shape.
        weighted: Whether the weights ``1 / (r_i + r_j)`` stand in the sum; 1 otherwise.

    Returns:
        The mean over the lists that have a pair; 0 where none has. A scalar, in nats.

    Raises:
        InputError: The shapes disagree.

    References:
        Reddy et al., FIRST, arXiv:2406.15657; Burges et al., Learning to Rank using Gradient
        Descent, ICML 2005.

        Verified against FIRST's published code (``scripts/utils/loss.py``): the weights, and the
        plain mean over pairs. The paper prints a sum. That code numbers tied targets in an
        arbitrary order for the weights; ties have the ranks they are given here.

    Examples:
        >>> loss = ranknet(torch.zeros(1, 3), torch.tensor([[1, 2, 3]]))
        >>> math.isclose(loss, math.log(2) * (1 / 3 + 1 / 4 + 1 / 5) / 3, rel_tol=1e-6)
        True
    """
    scores, ranks, valid = prepared(scores, where=where, ranks=ranks)
    pairs = better(-ranks, valid)
    losses = -logsigmoid(gaps(scores))
    if weighted:
        losses = losses / (ranks[:, :, None] + ranks[:, None, :]).masked_fill(~pairs, 1.0)
    return mean_over_pairs(losses, pairs)


def lambda_loss(
    scores: Tensor, labels: Tensor, where: Tensor | None = None, *, sigma: float = 1.0
) -> Tensor:
    r"""LambdaLoss with the weights of NDCG-Loss2, called LambdaRank by FIRST.

    .. math::
        L = \frac{1}{P} \sum_{y_i > y_j} -w_{ij} \log_2 \frac{1}{1 + e^{-\sigma (s_i - s_j)}},
        \quad w_{ij} = \left| \frac{1}{D(d)} - \frac{1}{D(d + 1)} \right| |G_i - G_j|

    with ``d`` the distance of both places in the order of the current scores,
    ``D(x) = log2(1 + x)`` and ``G = (2^y - 1) / maxDCG``. The weights are constants in the
    gradient.

    Args:
        scores: Logits ``s``, shape ``(batch, n)``. Ties take places in the order given.
        labels: Grades ``y``, the same shape. Equal grades make no pair; a negative grade has the
            gain of 0.
        where: False at padding, the same shape.
        sigma: The steepness of the logistic function, positive.

    Returns:
        The mean over the lists that have a pair; 0 where none has. A scalar, in bits.

    Raises:
        InputError: The shapes disagree or ``sigma`` is not positive.

    References:
        Wang et al., The LambdaLoss Framework for Ranking Metric Optimization, CIKM 2018.

        Verified against FIRST's published code (``ndcgLoss2_scheme``, binary logarithm, mean over
        pairs), with one difference: that code clamps probabilities at 1e-10, which takes the
        gradient from pairs that are wrong by more than 23 logits. Nothing is clamped here.

    Examples:
        >>> loss = lambda_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        >>> math.isclose(loss, 1 - 1 / math.log2(3), rel_tol=1e-6)
        True
    """
    positive(sigma=sigma)
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    distance = gaps(places(scores, valid)).abs().clamp(min=1).to(scores.dtype)
    weights = 1 / torch.log2(1 + distance) - 1 / torch.log2(2 + distance)
    weights = weights * gaps(_normalised_gains(labels, valid)).abs()
    losses = -weights * logsigmoid(sigma * gaps(scores)) / math.log(2)
    return mean_over_pairs(losses, better(labels, valid))


def _normalised_gains(labels: Tensor, valid: Tensor) -> Tensor:
    """``(2^y - 1) / maxDCG``; both divided by ``2^max y``, for targets as large as logits."""
    labels = labels.clamp(min=0.0)
    top = labels.amax(dim=1, keepdim=True)
    gains = (torch.exp2(labels - top) - torch.exp2(-top)).masked_fill(~valid, 0.0)
    ideal = gains / torch.log2(1 + places(labels, valid).to(labels.dtype))
    best = ideal.masked_fill(~valid, 0.0).sum(dim=1, keepdim=True)
    return gains / torch.where(best > 0, best, 1.0)


def lipo_lambda(scores: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
    r"""LiPO-lambda: RankNet weighted by what a swap would do to the DCG.

    .. math::
        L = \sum_{\psi_i > \psi_j} \Delta_{ij} \log(1 + e^{-(s_i - s_j)}), \quad
        \Delta_{ij} = |2^{\psi_i} - 2^{\psi_j}|
        \left| \frac{1}{D(\tau_i)} - \frac{1}{D(\tau_j)} \right|

    with ``tau`` the places in the order of the current scores and ``D(x) = log(1 + x)``, natural.
    The weights are constants in the gradient. A sum over pairs: long lists weigh more.

    Args:
        scores: ``s``, shape ``(batch, n)``. In the paper ``beta log(pi / pi_ref)`` of whole
            answers with beta 0.05, scaled by the caller; a reranker's logits need no reference.
            Ties take places in the order given.
        labels: ``psi``, the same shape. Equal labels make no pair.
        where: False at padding, the same shape.

    Returns:
        The mean over the lists that have a pair; 0 where none has. A scalar.

    Raises:
        InputError: The shapes disagree.

    References:
        Liu et al., LiPO: Listwise Preference Optimization through Learning-to-Rank,
        arXiv:2402.01878.

        The formula is the paper's; no published code was compared. That the weights are constants
        is how the RAX library, which the paper uses, treats them.

    Examples:
        >>> loss = lipo_lambda(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        >>> math.isclose(loss, (1 / math.log(2) - 1 / math.log(3)) * math.log(2), rel_tol=1e-6)
        True
    """
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    pairs = better(labels, valid)
    swap = gaps(1 / torch.log1p(places(scores, valid).to(scores.dtype))).abs()
    weights = gaps(torch.exp2(labels)).abs() * swap
    each = torch.where(pairs, -weights * logsigmoid(gaps(scores)), 0.0).sum((1, 2))
    return mean_over_lists(each, pairs.any(2).any(1))


def margin_mse(scores: Tensor, teacher: Tensor, where: Tensor | None = None) -> Tensor:
    r"""Margin-MSE: the student's margins between passages against the teacher's.

    .. math:: L = \frac{1}{P} \sum_{i < j} \left( (s_i - s_j) - (t_i - t_j) \right)^2

    over all ``P`` pairs of the list: a pair that the teacher ties has a margin of 0 as its target.

    Args:
        scores: ``s``, shape ``(batch, n)``.
        teacher: The teacher's scores ``t``, the same shape, on the scale that the student shall
            have. A list with one value counts for nothing.
        where: False at padding, the same shape.

    Returns:
        The mean over the lists that count; 0 where none does. A scalar, in squared logits.

    Raises:
        InputError: The shapes disagree.

    References:
        Hofstätter et al., Improving Efficient Neural Ranking Models with Cross-Architecture
        Knowledge Distillation, arXiv:2010.02666.

        The paper's pairs are a positive and a negative; all pairs of a list are our extension and
        the same for lists of two. No published code was compared.

    Examples:
        >>> margin_mse(torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0]])).item()
        9.0
    """
    scores, teacher, valid = prepared(scores, where=where, teacher=teacher)
    counts = has_several(teacher, valid)
    pairs = (valid[:, :, None] & valid[:, None, :]).triu(diagonal=1) & counts[:, None, None]
    return mean_over_pairs(gaps(scores - teacher).square(), pairs)
