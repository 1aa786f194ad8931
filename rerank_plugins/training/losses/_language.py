"""Losses over the tokens of an answer, alone and beside a loss over the list.

``logits`` has shape ``(batch, length, vocabulary)`` and ``targets`` ``(batch, length)``:
``logits[:, t]`` predicts ``targets[:, t]``, so the caller shifts. A negative target (-100 in
transformers) is ignored, like one where ``where`` is False: its logits have no influence, whatever
they hold. Sums are divided by the number of the *batch's* targets, as the published codes do: a
long answer weighs more than a short one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..._checks import nearest_of
from ...errors import InputError, UnknownNameError
from ._listwise import listnet
from ._padding import better, mask_of, precise, prepared
from ._pairwise import lambda_loss, ranknet

RankLoss = Literal["ranknet", "plain-ranknet", "listnet", "lambda"]

FIRST_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"ranknet": 10.0, "plain-ranknet": 1.0, "listnet": 0.1, "lambda": 1.0}
)
"""FIRST's factor for each ranking loss: lambda in its paper and code."""


def language_model(logits: Tensor, targets: Tensor, where: Tensor | None = None) -> Tensor:
    r"""The mean negative log-likelihood of the target tokens.

    .. math:: L = -\frac{1}{N} \sum_t \log \mathrm{softmax}(\ell_t)_{y_t}

    Args:
        logits: ``l``, shape ``(batch, length, vocabulary)``.
        targets: Token ids ``y``, shape ``(batch, length)``; negative where there is none.
        where: False where there is no target, the same shape.

    Returns:
        The mean over the ``N`` targets of the batch; 0 without one. A scalar, in nats.

    Raises:
        InputError: The shapes disagree.

    References:
        Verified against FIRST's published code (``scripts/train_ranking.py``), which divides by
        the targets of the batch and not of each list.

    Examples:
        >>> import math
        >>> logits, targets = torch.zeros(1, 3, 8), torch.tensor([[-100, 4, 7]])
        >>> math.isclose(language_model(logits, targets), math.log(8), rel_tol=1e-6)
        True
    """
    losses, _ = _token_losses(logits, targets, where)
    return losses.sum() / max(len(losses), 1)


def importance_aware_lm(
    logits: Tensor, targets: Tensor, ranks: Tensor, where: Tensor | None = None
) -> Tensor:
    r"""The language model loss of a ranking in which the first identifiers weigh most.

    .. math:: L = -\frac{1}{N} \sum_t w_t \log \mathrm{softmax}(\ell_t)_{y_t}

    with `importance_weights` ``w`` and ``N`` the number of targets: the sum of the weights does not
    divide it.

    Args:
        logits: ``l``, shape ``(batch, length, vocabulary)``.
        targets: Token ids ``y``, shape ``(batch, length)``; negative where there is none.
        ranks: The rank of the identifier that each token belongs to, from 1; 0 for separators. The
            same shape, as `identifier_ranks` makes it.
        where: False where there is no target, the same shape.

    Returns:
        A scalar; 0 without a target.

    Raises:
        InputError: The shapes disagree.

    References:
        Liu et al., Sliding Windows Are Not the End: Exploring Full Ranking with Long-Context Large
        Language Models, arXiv:2412.14574. Weights and divisor were read in its published code
        (``training/model.py``), for batches of one; for larger ones the divisor is ours.

    Examples:
        >>> import math
        >>> logits, targets = torch.zeros(1, 3, 8), torch.tensor([[1, 7, 2]])  # 1 > 2
        >>> loss = importance_aware_lm(logits, targets, torch.tensor([[1, 0, 2]]))
        >>> weights = 2 + 1 + (1 + 1 / math.log2(3))
        >>> math.isclose(loss, math.log(8) * weights / 3, rel_tol=1e-6)
        True
    """
    if ranks.shape != targets.shape:
        raise InputError(f"ranks has shape {tuple(ranks.shape)} and targets {tuple(targets.shape)}")
    losses, valid = _token_losses(logits, targets, where)
    weights = importance_weights(ranks[valid]).to(losses.dtype)
    return (weights * losses).sum() / max(len(losses), 1)


def importance_weights(ranks: Tensor) -> Tensor:
    r"""Weights of the tokens of a ranking: ``1 + 1 / log2(r + 1)``, and 1 for separators.

    Args:
        ranks: The rank ``r`` of the identifier that each token belongs to, from 1; 0 for
            separators. Any shape.

    Returns:
        Weights from 1 to 2, the same shape, in single precision.

    References:
        Liu et al., arXiv:2412.14574, see `importance_aware_lm`.

    Examples:
        >>> importance_weights(torch.tensor([1, 0, 3])).tolist()
        [2.0, 1.0, 1.5]
    """
    ranks = ranks.to(torch.float32)
    return torch.where(ranks > 0, 1 + 1 / torch.log2(ranks.clamp(min=1) + 1), 1.0)


def identifier_ranks(targets: Tensor, separator: int) -> Tensor:
    """The rank of the identifier that each token of a ranking belongs to.

    Args:
        targets: Token ids of ``[3] > [1] > [2]``, shape ``(batch, length)``; negative where there
            is none.
        separator: The id of the token ``>``.

    Returns:
        1 up to the first separator, then 2, and so on; 0 for separators and where there is no
        target. What ends the answer has the rank of the last identifier.

    References:
        Liu et al., arXiv:2412.14574, see `importance_aware_lm`. That the end belongs to the last
        identifier follows from the published rule, by which the rank only grows at separators.

    Examples:
        >>> identifier_ranks(torch.tensor([[-100, 11, 62, 12, 62, 13, 2]]), separator=62).tolist()
        [[0, 1, 0, 2, 0, 3, 3]]
    """
    separates = targets == separator
    return (1 + separates.cumsum(dim=1)).masked_fill(separates | (targets < 0), 0)


def pair_and_list(
    pair_logits: Tensor, pair_targets: Tensor, list_logits: Tensor, list_targets: Tensor
) -> Tensor:
    r"""The joint loss of UniME-V2's reranker: pointwise answers and listwise answers, equally.

    .. math:: L = L_\mathrm{pair} + L_\mathrm{list}

    Args:
        pair_logits: For answers that say Yes to a positive and No to a hard negative, shape
            ``(batch, length, vocabulary)``.
        pair_targets: Their tokens, shape ``(batch, length)``; negative where there is none.
        list_logits: For answers that name the best passage of a list, of other sizes.
        list_targets: Their tokens.

    Returns:
        The sum of two `language_model` losses. A scalar, in nats.

    Raises:
        InputError: The shapes disagree.

    References:
        Gu et al., UniME-V2: MLLM-as-a-Judge for Universal Multimodal Embedding Learning,
        arXiv:2510.13515. The sum is the paper's; for text it is only a transfer.

    Examples:
        >>> import math
        >>> pair, many = torch.zeros(1, 1, 8), torch.zeros(2, 3, 8)
        >>> no_token = torch.zeros(2, 3, dtype=torch.long)
        >>> loss = pair_and_list(pair, no_token[:1, :1], many, no_token)
        >>> math.isclose(loss, 2 * math.log(8), rel_tol=1e-6)
        True
    """
    return language_model(pair_logits, pair_targets) + language_model(list_logits, list_targets)


def first(
    scores: Tensor,
    ranks: Tensor,
    logits: Tensor,
    targets: Tensor,
    where: Tensor | None = None,
    *,
    rank_loss: RankLoss = "ranknet",
    weight: float | None = None,
) -> Tensor:
    r"""The joint objective of FIRST: the whole ranking as text, and its first token as a ranking.

    .. math:: L = L_\mathrm{LM} + \lambda L_\mathrm{rank}

    Args:
        scores: Logits of the passages' identifiers where the first one is expected, shape
            ``(batch, n)``: logits, not log-probabilities.
        ranks: Gold ranks, 1 is the best, the same shape.
        logits: Of the ranking as text, shape ``(batch, length, vocabulary)``.
        targets: Its tokens, shape ``(batch, length)``; negative where there is none.
        where: False at padding of ``scores``, the same shape.
        rank_loss: ``"ranknet"`` with FIRST's weights, ``"plain-ranknet"``, ``"listnet"`` or
            ``"lambda"``. The labels of the last two are the list's own logits, sorted, in the gold
            order.
        weight: ``lambda``; None for FIRST's, which is 10, 1, 0.1 or 1.

    Returns:
        `language_model` plus the weighted ranking loss. A scalar.

    Raises:
        InputError: The shapes disagree.
        UnknownNameError: There is no ranking loss of that name.

    References:
        Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
        arXiv:2406.15657.

        Verified against the published code (``scripts/train_ranking.py``, ``utils/loss.py``):
        weights, labels, the mean over lists, the mean over target tokens. In that code a gradient
        also flows through the labels of ListNet and of the lambda loss; here they are constants,
        with the same value. A list without a pair is left out there too, with all of its batch.

    Examples:
        >>> import math
        >>> logits, targets = torch.zeros(1, 2, 8), torch.tensor([[5, 6]])
        >>> loss = first(torch.zeros(1, 2), torch.tensor([[2, 1]]), logits, targets)
        >>> math.isclose(loss, math.log(8) + 10 * math.log(2) / 3, rel_tol=1e-6)
        True
    """
    if rank_loss not in FIRST_WEIGHTS:
        raise UnknownNameError(
            f"there is no ranking loss {rank_loss!r} in FIRST",
            hint=nearest_of(rank_loss, FIRST_WEIGHTS),
        )
    if rank_loss in ("ranknet", "plain-ranknet"):
        ranking = ranknet(scores, ranks, where, weighted=rank_loss == "ranknet")
    elif rank_loss == "listnet":
        ranking = listnet(scores, _own_labels(scores, ranks, where), where)
    else:
        ranking = lambda_loss(scores, _own_labels(scores, ranks, where), where)
    share = FIRST_WEIGHTS[rank_loss] if weight is None else weight
    return language_model(logits, targets) + share * ranking


def _own_labels(scores: Tensor, ranks: Tensor, where: Tensor | None) -> Tensor:
    """The list's own logits, the highest for the best rank; equal ones for equal ranks."""
    scores, ranks, valid = prepared(scores, where=where, ranks=ranks)
    ordered, _ = scores.masked_fill(~valid, -torch.inf).sort(dim=1, descending=True)
    found = ordered.gather(1, better(-ranks, valid).sum(1))
    return found.masked_fill(~valid, 0.0)


def _token_losses(logits: Tensor, targets: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor]:
    """The loss of each target, shape ``(targets,)``, and where they are.

    The others are left out before the softmax, not after: NaN times zero is NaN in a gradient.
    """
    if logits.ndim != 3 or targets.shape != logits.shape[:2]:
        raise InputError(
            f"logits has shape {tuple(logits.shape)} and targets {tuple(targets.shape)}, expected "
            "(batch, length, vocabulary) and (batch, length)"
        )
    valid = mask_of(where, targets) & (targets >= 0)
    losses = cross_entropy(precise(logits[valid]), targets[valid], reduction="none")
    return losses, valid
