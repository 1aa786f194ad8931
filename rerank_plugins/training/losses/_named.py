"""Ranking losses by name, all with one signature."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from ...errors import InputError, UnknownNameError
from ._distillation import hybrid_distillation, kl_distillation, plackett_luce_distillation
from ._listwise import cross_entropy, list_mle, listnet, p_list_mle, z_loss
from ._padding import ranks_of
from ._pairwise import lambda_loss, lipo_lambda, margin_mse, ranknet
from ._pointwise import binary_cross_entropy


class RankingLoss(Protocol):
    """A loss over lists. For type checking only: nothing to subclass."""

    def __call__(
        self,
        scores: Tensor,
        labels: Tensor,
        teacher: Tensor | None = None,
        where: Tensor | None = None,
    ) -> Tensor:
        """A scalar.

        Args:
            scores: Logits, shape ``(batch, n)``.
            labels: Higher is better, the same shape.
            teacher: A teacher's scores, the same shape; the labels stand in for them.
            where: False at padding, the same shape.
        """
        ...


def _by_labels(
    loss: Callable[..., Tensor],
    scores: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,  # noqa: ARG001 - the signature that all share
    where: Tensor | None = None,
    **options: Any,
) -> Tensor:
    return loss(scores, labels, where, **options)


def _by_ranks(
    loss: Callable[..., Tensor],
    scores: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,  # noqa: ARG001 - the signature that all share
    where: Tensor | None = None,
    **options: Any,
) -> Tensor:
    return loss(scores, ranks_of(labels, where), where, **options)


def _by_teacher(
    loss: Callable[..., Tensor],
    scores: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,
    where: Tensor | None = None,
    **options: Any,
) -> Tensor:
    return loss(scores, labels if teacher is None else teacher, where, **options)


def _by_both(
    loss: Callable[..., Tensor],
    scores: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,
    where: Tensor | None = None,
    **options: Any,
) -> Tensor:
    return loss(scores, labels, labels if teacher is None else teacher, where, **options)


_NAMED: Mapping[str, partial[Tensor]] = {
    "bce": partial(_by_labels, binary_cross_entropy),
    "cross-entropy": partial(_by_labels, cross_entropy),
    "dear": partial(_by_both, hybrid_distillation),
    "kl": partial(_by_teacher, kl_distillation),
    "lambda": partial(_by_labels, lambda_loss),
    "lipo-lambda": partial(_by_labels, lipo_lambda),
    "list-mle": partial(_by_labels, list_mle),
    "listnet": partial(_by_labels, listnet),
    "margin-mse": partial(_by_teacher, margin_mse),
    "p-list-mle": partial(_by_labels, p_list_mle),
    "pld": partial(_by_both, plackett_luce_distillation),
    "ranknet": partial(_by_ranks, ranknet),
    "z-loss": partial(_by_labels, z_loss),
}

RANKING_LOSSES: Mapping[str, RankingLoss] = MappingProxyType(_NAMED)
"""Every loss over lists by its name, with the options that its function has by default.

Those that distil take the teacher (``kl``, ``margin-mse``), or labels and teacher (``dear``,
``pld``); ``ranknet`` takes the ranks of the labels; the others take the labels alone.
"""


def ranking_loss(name: str, **options: Any) -> RankingLoss:
    """The loss that goes by ``name``.

    Args:
        name: One of `RANKING_LOSSES`.
        options: Keyword arguments of the loss's function: ``temperature``, ``alpha``, ``b``.

    Raises:
        UnknownNameError: No loss has that name.
        InputError: The loss has no such option.

    Examples:
        >>> import torch
        >>> loss = ranking_loss("listnet", temperature=0.5)
        >>> loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[0, 1]])).item() > 0
        True
    """
    if name not in _NAMED:
        raise UnknownNameError(
            f"there is no ranking loss {name!r}", hint=f"Known: {', '.join(_NAMED)}."
        )
    found = _NAMED[name]
    parameters = signature(found.args[0]).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    if unknown := sorted(set(options) - set(known)):
        raise InputError(
            f"the ranking loss {name!r} has no option {', '.join(unknown)}",
            hint=f"It has: {', '.join(known)}." if known else "It has none.",
        )
    return partial(found, **options)
