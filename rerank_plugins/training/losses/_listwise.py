"""Losses over the order of a whole list."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..._checks import positive
from ...errors import InputError
from ._padding import better, choices, has_several, log_softmax, mean_over_lists, prepared, softmax


def listnet(
    scores: Tensor, labels: Tensor, where: Tensor | None = None, *, temperature: float = 1.0
) -> Tensor:
    r"""ListNet, top one: cross-entropy between the softmax of the labels and that of the scores.

    .. math:: L = -\sum_i \mathrm{softmax}(y / T)_i \log \mathrm{softmax}(s)_i

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        labels: ``y``, higher is better, the same shape. A list with one value counts for nothing.
        where: False at padding, the same shape.
        temperature: ``T``, of the labels only: below 1 sharpens grades. Positive.

    Returns:
        The mean over the lists that count; 0 where none does. A scalar, in nats; its minimum is
        the entropy of the labels' distribution.

    Raises:
        InputError: The shapes disagree or the temperature is not positive.

    References:
        Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007.

        Verified against FIRST's published code at ``T = 1`` but for the 1e-10 that it adds to
        probabilities. The temperature is ours.

    Examples:
        >>> loss = listnet(torch.zeros(1, 2), torch.tensor([[3.0, 0.0]]))
        >>> math.isclose(loss, math.log(2), rel_tol=1e-6)
        True
    """
    positive(temperature=temperature)
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    each = -(softmax(labels / temperature, valid) * log_softmax(scores, valid)).sum(1)
    return mean_over_lists(each, has_several(labels, valid))


def list_mle(scores: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
    r"""ListMLE: the likelihood of the labels' order under a Plackett-Luce model.

    .. math:: L = \sum_k \Big( \log \sum_{l \ge k} e^{s_{\pi(l)}} - s_{\pi(k)} \Big)

    with ``pi`` the order of the labels, best first. Passages with equal labels do not compete:
    each is chosen before those that are worse, and the order of ties in the input has no effect.

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        labels: Higher is better, the same shape. A list with one value counts for nothing.
        where: False at padding, the same shape.

    Returns:
        The mean over the lists that count; 0 where none does. A scalar, in nats. Adding a constant
        to the scores does not change it.

    Raises:
        InputError: The shapes disagree.

    References:
        Xia et al., Listwise Approach to Learning to Rank: Theory and Algorithm, ICML 2008.

        The paper has total orders. How ties are treated is ours; no published code was compared.

    Examples:
        >>> loss = list_mle(torch.zeros(1, 3), torch.tensor([[2.0, 1.0, 0.0]]))
        >>> math.isclose(loss, math.log(3 * 2 * 1), rel_tol=1e-6)
        True
    """
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    each = choices(scores, better(labels, valid)).sum(1)
    return mean_over_lists(each, has_several(labels, valid))


def p_list_mle(scores: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
    r"""Position-aware ListMLE: the first choices weigh most.

    .. math::
        L = \sum_k \alpha_k \Big( \log \sum_{l \ge k} e^{s_{\pi(l)}} - s_{\pi(k)} \Big), \quad
        \alpha_k = \frac{2^{n - k} - 1}{2^{n - 1} - 1}

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        labels: Higher is better, the same shape; tied passages share the place of the first. A list
            with one value counts for nothing.
        where: False at padding, the same shape; ``n`` in the weights does not count padding.

    Returns:
        The mean over the lists that count; 0 where none does. A scalar.

    Raises:
        InputError: The shapes disagree.

    References:
        Lan et al., Position-Aware ListMLE: A Sequential Learning Process for Ranking, UAI 2014.

        The paper's weights are the numerators. They are divided by the first one here: for a list
        of 100 it is 6e29, and long lists would drown short ones. No published code was compared.

    Examples:
        >>> loss = p_list_mle(torch.zeros(1, 3), torch.tensor([[2.0, 1.0, 0.0]]))
        >>> math.isclose(loss, math.log(3) + math.log(2) / 3, rel_tol=1e-6)
        True
    """
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    after = better(labels, valid)
    before = after.sum(1).to(scores.dtype)
    last = torch.exp2(1.0 - valid.sum(1, keepdim=True).to(scores.dtype))
    alpha = (torch.exp2(-before) - last) / (1 - last).clamp(min=0.5)  # of one passage: 0
    each = (alpha * choices(scores, after)).sum(1)
    return mean_over_lists(each, has_several(labels, valid))


def cross_entropy(scores: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
    r"""The best passage against the others, called localized contrastive estimation.

    .. math:: L = \log \Big( e^{s_c} + \sum_{y_j < y_c} e^{s_j} \Big) - s_c

    with ``c`` the passage with the best label; the mean over them where there are several, which
    do not compete.

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        labels: Higher is better, the same shape. A list with one value counts for nothing.
        where: False at padding, the same shape.

    Returns:
        The mean over the lists that count; 0 where none does. A scalar, in nats.

    Raises:
        InputError: The shapes disagree.

    References:
        Gao et al., Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline,
        arXiv:2101.08751. With one best passage it is ``torch.nn.functional.cross_entropy``.

    Examples:
        >>> loss = cross_entropy(torch.zeros(1, 4), torch.tensor([[0, 1, 0, 0]]))
        >>> math.isclose(loss, math.log(4), rel_tol=1e-6)
        True
    """
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    worse = better(labels, valid)
    each = _mean_over_best(choices(scores, worse), worse, valid)
    return mean_over_lists(each, has_several(labels, valid))


def z_loss(
    scores: Tensor,
    labels: Tensor,
    where: Tensor | None = None,
    *,
    a: float = 1.0,
    b: float = 1.0,
) -> Tensor:
    r"""Z-loss: the best passage's score, in standard deviations of the list.

    .. math::
        L = \frac{1}{a} \log \left( 1 + e^{a (b - z_c)} \right), \quad z = \frac{s - \mu}{\sigma}

    with the mean and the standard deviation of the list (of the population, divided by ``n``) and
    ``c`` the passage with the best label; the mean over them where there are several.

    Args:
        scores: ``s``, shape ``(batch, n)``. Where all are equal ``z`` is 0 and the gradient too.
        labels: Higher is better, the same shape. A list with one value counts for nothing.
        where: False at padding, the same shape.
        a: The sharpness, positive.
        b: The deviations above the mean to aim at. No passage can have more than
            ``sqrt(n - 1)``. With two passages ``z`` is 1 and -1, whatever the scores: this loss
            cannot learn from them.

    Returns:
        The mean over the lists that count; 0 where none does. A scalar. Neither adding a constant
        to the scores nor multiplying them with a positive number changes it.

    Raises:
        InputError: The shapes disagree, ``a`` is not positive or ``b`` out of reach.

    References:
        de Brébisson and Vincent, The Z-loss: a shift and scale invariant classification loss
        belonging to the Spherical Family, arXiv:1604.08859.

        The formula is the paper's; it tunes ``a`` and ``b``, so the defaults are ours, and so is
        the bound. No published code was compared.

    Examples:
        >>> scores, labels = torch.tensor([[5.0, 3.0, 1.0]]), torch.tensor([[1, 0, 0]])
        >>> loss = z_loss(scores, labels)  # z is the root of 3/2
        >>> math.isclose(loss, math.log(1 + math.exp(1 - 1.5**0.5)), rel_tol=1e-6)
        True
    """
    positive(a=a)
    scores, labels, valid = prepared(scores, where=where, labels=labels)
    n = scores.shape[1]
    if n > 1 and not b < math.sqrt(n - 1):
        raise InputError(
            f"b is {b}, expected below {math.sqrt(n - 1):.3g}: no score of {n} is as many standard "
            "deviations above their mean"
        )
    number = valid.sum(1, keepdim=True).clamp(min=1)
    highest = scores.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
    lowest = scores.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    spread = (highest > lowest).expand_as(valid) & valid
    # z does not change with the scale, so it may be divided by a constant that keeps squares small
    scale = torch.where(highest > lowest, highest - lowest, 1.0).detach()
    scores = torch.where(spread, (scores - highest.detach()) / scale, 0.0)
    away = torch.where(spread, scores - scores.sum(1, keepdim=True) / number, 0.0)
    variance = away.square().sum(1, keepdim=True) / number
    z = away / torch.where(variance > 0, variance, 1.0).sqrt()
    each = _mean_over_best(-logsigmoid(a * (z - b)) / a, better(labels, valid), valid)
    return mean_over_lists(each, has_several(labels, valid))


def _mean_over_best(losses: Tensor, worse: Tensor, valid: Tensor) -> Tensor:
    """The mean over the passages of a list that none is better than, shape ``(batch,)``."""
    best = valid & ~worse.any(1)
    return torch.where(best, losses, 0.0).sum(1) / best.sum(1).clamp(min=1)
