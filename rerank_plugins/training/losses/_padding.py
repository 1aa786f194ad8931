"""Shared by all losses over lists: shapes, padding, ties and the mean over lists.

A loss over lists takes ``scores`` of shape ``(batch, n)``, a target of the same shape and
``where``, False at padding. Padding has no influence on the value or the gradient, whatever it
holds; a NaN elsewhere is passed on. A list whose target has one value has nothing to compare: the
mean is over the other lists, and 0 with a gradient of zeros where there is none. Targets are
constants: no gradient flows into them.
"""

import torch
from torch import Tensor

from ...errors import InputError


def prepared(scores: Tensor, *, where: Tensor | None, **targets: Tensor) -> tuple[Tensor, ...]:
    """Scores and targets with zeros at padding, and the mask of what counts.

    Half precision becomes single precision: differences of 16-bit logits are too coarse.

    Raises:
        InputError: The shapes disagree or ``where`` is not a boolean mask.
    """
    if scores.ndim != 2 or not scores.shape[1]:
        raise InputError(
            f"scores has shape {tuple(scores.shape)}, expected (batch, n), n at least 1"
        )
    for name, target in targets.items():
        if target.shape != scores.shape:
            raise InputError(
                f"{name} has shape {tuple(target.shape)} and scores {tuple(scores.shape)}"
            )
    valid = mask_of(where, scores)
    scores = precise(scores)
    constants = (
        target.detach().to(scores.dtype).masked_fill(~valid, 0.0) for target in targets.values()
    )
    return (torch.where(valid, scores, 0.0), *constants, valid)


def mask_of(where: Tensor | None, like: Tensor) -> Tensor:
    """Return ``where``, checked; all True where it is None.

    Raises:
        InputError: Its shape differs, or it is not boolean.
    """
    if where is None:
        return torch.ones(like.shape, dtype=torch.bool, device=like.device)
    if where.shape != like.shape or where.dtype != torch.bool:
        raise InputError(
            f"where has shape {tuple(where.shape)} and type {where.dtype}, expected a boolean mask "
            f"of shape {tuple(like.shape)}"
        )
    return where


def precise(values: Tensor) -> Tensor:
    """Convert lower precisions to single precision."""
    return values if values.dtype == torch.float64 else values.to(torch.float32)


def mean_over_lists(each: Tensor, counts: Tensor) -> Tensor:
    """The mean of ``each`` over the lists that count, both of shape ``(batch,)``; 0 without one."""
    return torch.where(counts, each, 0.0).sum() / counts.sum().clamp(min=1)


def mean_over_pairs(losses: Tensor, pairs: Tensor) -> Tensor:
    """The mean over each list's pairs, then over the lists that have one.

    Args:
        losses: One loss for each pair, finite also where there is none, shape ``(batch, n, n)``.
        pairs: Which pairs count, the same shape.
    """
    number = pairs.sum((1, 2))
    each = torch.where(pairs, losses, 0.0).sum((1, 2)) / number.clamp(min=1)
    return mean_over_lists(each, number > 0)


def gaps(values: Tensor) -> Tensor:
    """``v_i - v_j`` at ``[b, i, j]``, shape ``(batch, n, n)``."""
    return values[:, :, None] - values[:, None, :]


def better(target: Tensor, valid: Tensor) -> Tensor:
    """Whether ``i`` has a higher target than ``j``, neither padding, shape ``(batch, n, n)``."""
    return (target[:, :, None] > target[:, None, :]) & valid[:, :, None] & valid[:, None, :]


def has_several(target: Tensor, valid: Tensor) -> Tensor:
    """Whether a list's target has more than one value, shape ``(batch,)``."""
    return better(target, valid).any(2).any(1)


def places(values: Tensor, valid: Tensor) -> Tensor:
    """The place of each item when sorted by value: 1 is the highest, ties in the order given.

    Shape ``(batch, n)``; padding has no place and gets one that means nothing.
    """
    equal = (values[:, :, None] == values[:, None, :]) & valid[:, :, None] & valid[:, None, :]
    return 1 + (better(values, valid) | equal.triu(diagonal=1)).sum(1)


def log_softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """The log-softmax over each list; 0 at padding. Finite also for a list of padding only."""
    filled = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
    return filled.log_softmax(dim=1).masked_fill(~valid, 0.0)


def softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """The softmax over each list; 0 at padding."""
    return log_softmax(scores, valid).exp().masked_fill(~valid, 0.0)


def choices(scores: Tensor, after: Tensor) -> Tensor:
    r"""The cost of choosing each item before those that come after it.

    .. math:: c_i = \log \sum_{j \in \{i\} \cup A_i} e^{s_j} - s_i

    The factors of a Plackett-Luce likelihood, negative logarithms. Items that are tied with ``i``
    are not in ``A_i``: neither should be chosen before the other.

    Args:
        scores: Shape ``(batch, n)``.
        after: Whether ``j`` comes after ``i``, shape ``(batch, n, n)``.

    Returns:
        ``c``, shape ``(batch, n)``; 0 where nothing comes after, so at padding.
    """
    itself = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    rest = scores[:, None, :].expand(after.shape).masked_fill(~(after | itself), -torch.inf)
    return rest.logsumexp(dim=2) - scores


def ranks_of(labels: Tensor, where: Tensor | None = None) -> Tensor:
    """Ranks from labels: 1 for the highest, equal for ties, and without gaps after them.

    Args:
        labels: Higher is better, shape ``(batch, n)``.
        where: False at padding, the same shape.

    Returns:
        Whole numbers, the same shape; 0 at padding.

    Raises:
        InputError: The shapes disagree.

    Examples:
        >>> ranks_of(torch.tensor([[0.0, 3.0, 1.0, 3.0]])).tolist()
        [[3, 1, 2, 1]]
    """
    labels, valid = prepared(labels, where=where)
    equal = labels[:, :, None] == labels[:, None, :]
    seen = (equal & valid[:, None, :]).tril(diagonal=-1).any(2)  # an equal one came before
    news = better(labels, valid) & ~seen[:, :, None]
    return (1 + news.sum(1)).masked_fill(~valid, 0)
