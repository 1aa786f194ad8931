"""Losses that move scores towards a teacher's: those of a stronger reranker."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..._checks import nearest_of, positive
from ...errors import InputError, UnknownNameError
from ._listwise import cross_entropy
from ._padding import (
    better,
    choices,
    gaps,
    has_several,
    log_softmax,
    mean_over_lists,
    mean_over_pairs,
    precise,
    prepared,
    softmax,
)

Main = Literal["cross_entropy", "ranknet", "mixed"]


def kl_distillation(
    scores: Tensor, teacher: Tensor, where: Tensor | None = None, *, temperature: float = 1.0
) -> Tensor:
    r"""KL divergence from the student's distribution over the list to the teacher's.

    .. math::
        L = \sum_i p_i (\log p_i - \log q_i), \quad
        p = \mathrm{softmax}(t / T), \; q = \mathrm{softmax}(s / T)

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        teacher: The teacher's logits ``t``, the same shape. Probabilities and grades make a flat
            distribution: lower the temperature. A list with one value counts for nothing.
        where: False at padding, the same shape.
        temperature: ``T``, of both. The gradient shrinks with ``1 / T^2``; this is not compensated
            here.

    Returns:
        The mean over the lists that count; 0 where none does. A scalar, in nats, at least 0.

    Raises:
        InputError: The shapes disagree or the temperature is not positive.

    References:
        Hinton et al., Distilling the Knowledge in a Neural Network, arXiv:1503.02531; ReFIT,
        arXiv:2305.11744, has it for a query vector.

    Examples:
        >>> import math
        >>> loss = kl_distillation(torch.zeros(1, 2), torch.tensor([[100.0, 0.0]]))
        >>> math.isclose(loss, math.log(2), rel_tol=1e-6)
        True
    """
    positive(temperature=temperature)
    scores, teacher, valid = prepared(scores, where=where, teacher=teacher)
    log_p, log_q = (
        log_softmax(teacher / temperature, valid),
        log_softmax(scores / temperature, valid),
    )
    p = log_p.exp().masked_fill(~valid, 0.0)
    return mean_over_lists((p * (log_p - log_q)).sum(1), has_several(teacher, valid))


def plackett_luce_distillation(
    scores: Tensor,
    labels: Tensor,
    teacher: Tensor,
    where: Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> Tensor:
    r"""PLD: the likelihood of the teacher's order, with the labelled passage put first.

    .. math::
        L = \sum_k \alpha_k \Big( \log \sum_{l \ge k} e^{s_{\pi(l)}} - s_{\pi(k)} \Big), \quad
        \alpha = \mathrm{softmax}(t / T)_\pi

    with ``pi`` the order: the passages with the best label, then the others, both by the teacher's
    scores. Passages that this leaves tied do not compete.

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        labels: Higher is better, the same shape. Only the best ones matter.
        teacher: The teacher's logits ``t``, the same shape.
        where: False at padding, the same shape.
        temperature: ``T``, of the teacher's weights. Positive.

    Returns:
        The mean over the lists where labels or teacher have more than one value; 0 where none
        has. A scalar. Adding a constant to the scores does not change it.

    Raises:
        InputError: The shapes disagree or the temperature is not positive.

    References:
        Bassam et al., PLD: A Choice-Theoretic List-Wise Knowledge Distillation, arXiv:2506.12542.

        The formula is the paper's, for one labelled class, and PyLate's ``PlackettLuce`` has the
        same; several best passages and ties are our extension. All weight on the labelled passage:
        softmax cross-entropy. Equal weights and a teacher that agrees with the labels: ListMLE
        divided by ``n``.

    Examples:
        >>> import math
        >>> teacher = torch.tensor([[0.0, 100.0]])  # is sure of the second
        >>> right = plackett_luce_distillation(torch.zeros(1, 2), teacher, teacher)
        >>> math.isclose(right, math.log(2), rel_tol=1e-6)
        True
        >>> contradicted = torch.tensor([[1, 0]])  # its weight is on the last choice: none is left
        >>> plackett_luce_distillation(torch.zeros(1, 2), contradicted, teacher).item() < 1e-6
        True
    """
    positive(temperature=temperature)
    scores, labels, teacher, valid = prepared(scores, where=where, labels=labels, teacher=teacher)
    best = (valid & ~better(labels, valid).any(1)).to(scores.dtype)
    after = better(best, valid) | ((gaps(best) == 0) & better(teacher, valid))
    each = (softmax(teacher / temperature, valid) * choices(scores, after)).sum(1)
    return mean_over_lists(each, has_several(labels, valid) | has_several(teacher, valid))


def hybrid_distillation(
    scores: Tensor,
    labels: Tensor,
    teacher: Tensor,
    where: Tensor | None = None,
    *,
    temperature: float = 2.0,
    alpha: float = 0.1,
    main: Main = "cross_entropy",
) -> Tensor:
    r"""DeAR's first stage: a ranking loss and a little of the teacher's distribution.

    .. math:: L = (1 - \alpha) L_\mathrm{main} + \alpha T^2 \, \mathrm{KL}(p \,\|\, q)

    with `kl_distillation` at temperature ``T``, and as the main loss

    * ``"cross_entropy"``: `cross_entropy` of the best label;
    * ``"ranknet"``: over all pairs, binary cross-entropy of ``sigma(s_i - s_j)`` with
      ``sigma(t_i - t_j)`` as the target, by the teacher alone;
    * ``"mixed"``: half of the cross-entropy, and half of that RankNet with 1 for the best label and
      0 for the others in place of the teacher's scores.

    Args:
        scores: Logits ``s``, shape ``(batch, n)``.
        labels: Higher is better, the same shape.
        teacher: The teacher's logits ``t``, the same shape.
        where: False at padding, the same shape.
        temperature: ``T``, positive.
        alpha: The teacher's share, 0 to 1.
        main: The name of the main loss.

    Returns:
        The sum of both means, each over the lists that have something to compare. A scalar.

    Raises:
        InputError: The shapes disagree or a number is out of range.
        UnknownNameError: There is no main loss of that name.

    References:
        Abdallah et al., DeAR: Dual-Stage Document Reranking with Reasoning Agents via LLM
        Distillation, arXiv:2508.16998.

        Verified against the published code (``pointwise_reranker/modeling.py``, ``softmax_ce``,
        ``ranknet_teacher`` and ``ranknet_binary_softmax_ce``) for lists with one positive. That
        code takes alpha 0.5 by default and 0.1 in its recipe.

    Examples:
        >>> import math
        >>> scores, labels = torch.zeros(1, 2), torch.tensor([[1, 0]])
        >>> loss = hybrid_distillation(scores, labels, torch.tensor([[9.0, 9.0]]))
        >>> math.isclose(loss, 0.9 * math.log(2), rel_tol=1e-6)
        True
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}, expected a number from 0 to 1")
    if main not in get_args(Main):
        raise UnknownNameError(
            f"there is no main loss {main!r}", hint=nearest_of(main, get_args(Main))
        )
    divergence = kl_distillation(scores, teacher, where, temperature=temperature)
    if main == "ranknet":
        first = _soft_ranknet(scores, teacher, where)
    else:
        first = cross_entropy(scores, labels, where)
        if main == "mixed":
            constant, valid = prepared(labels, where=where)
            best = (valid & ~better(constant, valid).any(1)).to(constant.dtype)
            first = (first + _soft_ranknet(scores, best, where)) / 2
    return (1 - alpha) * first + alpha * temperature**2 * divergence


def _soft_ranknet(scores: Tensor, teacher: Tensor, where: Tensor | None) -> Tensor:
    """RankNet with the probabilities of a teacher as targets, over all pairs."""
    scores, teacher, valid = prepared(scores, where=where, teacher=teacher)
    counts = has_several(teacher, valid)
    pairs = (valid[:, :, None] & valid[:, None, :]).triu(diagonal=1) & counts[:, None, None]
    target, gap = gaps(teacher).sigmoid(), gaps(scores)
    return mean_over_pairs(-target * logsigmoid(gap) - (1 - target) * logsigmoid(-gap), pairs)


def wasserstein(scores: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    r"""The squared 2-Wasserstein distance between a batch's predictions and its labels, of SyCL.

    .. math::
        L = \|\mu_P - \mu_Q\|^2 + \mathrm{Tr} \big( C_P + C_Q - 2 (C_P C_Q)^{1/2} \big)

    The rows of ``P = softmax(s / T)`` and of ``Q = softmax(y)`` are taken for samples of two
    Gaussians with means ``mu`` and covariances ``C`` (divided by ``queries - 1``). One list says
    nothing of a covariance: this is a loss of a batch, and of no list in it.

    The trace of the root is the sum of the singular values of ``X_P X_Q^T``, queries by queries,
    with the centred rows ``X``; no matrix of passages by passages is made. A singular value ``v``
    enters as ``sqrt(v^2 + 1e-15)``, so that gradients are finite where covariances have not the
    full rank, which is always (two distributions are alike up to ``6e-8`` for each query). Computed
    in double precision.

    Args:
        scores: Logits ``s`` of every query with the passages of all queries of the batch, those of
            the first query first; shape ``(queries, passages)``.
        labels: Grades ``y``. Of the same shape, 0 for passages of other queries; or of shape
            ``(queries, passages / queries)``, each query's own passages, placed on the diagonal.
        temperature: ``T``, of the scores alone. Positive.

    Returns:
        A scalar in the type of the scores, at least single precision. With one query: the first
        term.

    Raises:
        InputError: The shapes disagree or the temperature is not positive.

    References:
        Esfandiarpoor et al., Beyond Contrastive Learning: Synthetic Data Enables List-wise Training
        with Multiple Levels of Relevance, arXiv:2503.23239.

        Verified against the published code, ``WS2Loss``: the softmax of the labels, the divisor,
        the stabiliser. It takes eigenvalues of ``K K^T``, the squares of these singular values.

    Examples:
        >>> labels = torch.tensor([[3.0, 0.0], [3.0, 1.0]])
        >>> alike = torch.tensor([[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 1.0]])
        >>> abs(wasserstein(alike, labels).item()) < 1e-6
        True
        >>> wasserstein(-alike, labels).item() > 0.1
        True
    """
    positive(temperature=temperature)
    if scores.ndim != 2 or not len(scores):
        raise InputError(f"scores has shape {tuple(scores.shape)}, expected (queries, passages)")
    queries, passages = scores.shape
    if labels.shape == (queries, passages // queries):
        own = torch.eye(queries, dtype=labels.dtype, device=labels.device)
        labels = (own[:, :, None] * labels[:, None, :]).flatten(start_dim=1)
    if labels.shape != scores.shape:
        raise InputError(
            f"labels has shape {tuple(labels.shape)} and scores {tuple(scores.shape)}",
            hint="Give a label for each score, or for each query's own passages.",
        )
    predicted = (scores.double() / temperature).softmax(dim=1)
    wanted = labels.detach().double().softmax(dim=1)
    p, q = predicted - predicted.mean(dim=0), wanted - wanted.mean(dim=0)
    spread = (p.square().sum() + q.square().sum()) / max(queries - 1, 1)
    roots: Tensor = torch.linalg.svdvals(p @ q.T) / max(queries - 1, 1)
    shared = (roots.square() + 1e-15).sqrt().sum()
    apart = (predicted - wanted).mean(dim=0).square().sum()
    return (apart + spread - 2 * shared).to(precise(scores).dtype)
