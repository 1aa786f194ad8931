"""What the published recipes minimise: losses and their gradients, in closed form."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...errors import InputError

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]


def softmax_kl(
    query: FloatArray, passages: FloatArray, target: FloatArray, scale: float = 1.0
) -> tuple[float, FloatArray]:
    r"""KL divergence from a reranker's distribution to the query's own.

    .. math:: L(q) = \sum_i p_i (\log p_i - \log r_i), \quad r = \mathrm{softmax}(a V q)

    Args:
        query: The query vector ``q``, shape ``(dim,)``.
        passages: One passage vector per row, ``V``, shape ``(n, dim)``.
        target: The reranker's distribution ``p``, shape ``(n,)``: not negative, sums to 1. Zeros
            are allowed (``0 log 0 = 0``).
        scale: ``a``, what inner products are multiplied with before the softmax.

    Returns:
        The divergence in nats and its gradient with respect to ``q``, shape ``(dim,)``.

    Raises:
        InputError: The shapes disagree or ``target`` is not a distribution.

    References:
        Reddy et al., ReFIT: Relevance Feedback from a Reranker during Inference, arXiv:2305.11744.

    Examples:
        >>> loss, gradient = softmax_kl(np.zeros(2), np.eye(2), np.array([1.0, 0.0]))
        >>> round(loss, 4), gradient.round(2).tolist()
        (0.6931, [-0.5, 0.5])
    """
    _check_shapes(query, passages, target)
    if (target < 0).any() or not np.isclose(target.sum(), 1.0):
        raise InputError(f"the target is not a distribution: it sums to {target.sum():g}")
    logits = scale * (passages @ query)
    log_r = logits - np.logaddexp.reduce(logits)
    support = target > 0
    loss = float(target[support] @ (np.log(target[support]) - log_r[support]))
    return loss, scale * (np.exp(log_r) - target) @ passages


def weighted_ranknet(
    query: FloatArray, passages: FloatArray, ranks: FloatArray, scale: float = 1.0
) -> tuple[float, FloatArray]:
    r"""RankNet with the weights of FIRST, for a reranker of which the order is all that is known.

    .. math::
        L(q) = \frac{1}{P} \sum_{r_i < r_j} \frac{\log(1 + e^{-(s_i - s_j)})}{r_i + r_j},
        \quad s = a V q

    with ``P`` the number of such pairs. Passages of equal rank make no pair.

    Args:
        query: The query vector ``q``, shape ``(dim,)``.
        passages: One passage vector per row, ``V``, shape ``(n, dim)``.
        ranks: The reranker's ranks ``r``, shape ``(n,)``: 1 is the best.
        scale: ``a``, what inner products are multiplied with.

    Returns:
        The loss and its gradient with respect to ``q``, shape ``(dim,)``; zeros without a pair.

    Raises:
        InputError: The shapes disagree.

    References:
        Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
        arXiv:2406.15657.

    Examples:
        >>> loss, gradient = weighted_ranknet(np.zeros(2), np.eye(2), np.array([1.0, 2.0]))
        >>> round(loss, 4), gradient.round(3).tolist()
        (0.231, [-0.167, 0.167])
    """
    _check_shapes(query, passages, ranks)
    better = ranks[:, None] < ranks[None, :]
    pairs = int(better.sum())
    if not pairs:
        return 0.0, np.zeros_like(query)
    scores = scale * (passages @ query)
    gaps = scores[:, None] - scores[None, :]
    weights = better / (ranks[:, None] + ranks[None, :]) / pairs
    loss = float((weights * np.logaddexp(0.0, -gaps)).sum())
    pull = weights / (1.0 + np.exp(np.minimum(gaps, 700.0)))  # d log(1 + e^-gap) = -sigma(-gap)
    return loss, scale * (pull.sum(axis=0) - pull.sum(axis=1)) @ passages


def dots(one: FloatArray, other: FloatArray) -> FloatArray:
    """The inner product of each pair of rows, shape ``(rows, 1)``."""
    found: FloatArray = np.einsum("ij,ij->i", one, other)[:, None]
    return found


def _check_shapes(query: FloatArray, passages: FloatArray, target: FloatArray) -> None:
    if query.ndim != 1 or passages.shape != (len(target), len(query)):
        raise InputError(
            f"passages has shape {passages.shape}, expected {(len(target), len(query))}"
        )
