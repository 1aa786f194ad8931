"""Ranking losses by name, all with one signature."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from ..._checks import nearest_of, some_of
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
        """Compute the loss, a scalar.

        Args:
            scores: Logits, shape ``(batch, n)``.
            labels: Higher is better, the same shape.
            teacher: A teacher's scores, the same shape; the labels when None.
            where: False at padding, the same shape.
        """
        ...


def _call(
    loss: Callable[..., Tensor],
    targets: tuple[str, ...],
    scores: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,
    where: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Call a loss with the targets that it takes, in their order."""
    given = {
        "labels": labels,
        "ranks": ranks_of(labels, where) if "ranks" in targets else None,
        "teacher": labels if teacher is None else teacher,
    }
    return loss(scores, *(given[name] for name in targets), where, **options)


_LABELS, _TEACHER, _BOTH = ("labels",), ("teacher",), ("labels", "teacher")
_NAMED: Mapping[str, partial[Tensor]] = {
    "bce": partial(_call, binary_cross_entropy, _LABELS),
    "cross-entropy": partial(_call, cross_entropy, _LABELS),
    "dear": partial(_call, hybrid_distillation, _BOTH),
    "kl": partial(_call, kl_distillation, _TEACHER),
    "lambda": partial(_call, lambda_loss, _LABELS),
    "lipo-lambda": partial(_call, lipo_lambda, _LABELS),
    "list-mle": partial(_call, list_mle, _LABELS),
    "listnet": partial(_call, listnet, _LABELS),
    "margin-mse": partial(_call, margin_mse, _TEACHER),
    "p-list-mle": partial(_call, p_list_mle, _LABELS),
    "pld": partial(_call, plackett_luce_distillation, _BOTH),
    "ranknet": partial(_call, ranknet, ("ranks",)),
    "z-loss": partial(_call, z_loss, _LABELS),
}

RANKING_LOSSES: Mapping[str, RankingLoss] = MappingProxyType(_NAMED)
"""Every loss over lists by its name, with the options that its function has by default.

Those that distil take the teacher (``kl``, ``margin-mse``), or labels and teacher (``dear``,
``pld``); ``ranknet`` takes the ranks of the labels; the others take the labels alone.
"""


def ranking_loss(name: str, **options: Any) -> RankingLoss:
    """The ranking loss of a name, with its options.

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
        raise UnknownNameError(f"there is no ranking loss {name!r}", hint=nearest_of(name, _NAMED))
    found = _NAMED[name]
    parameters = signature(found.args[0]).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    if unknown := sorted(set(options) - set(known)):
        raise InputError(
            f"the ranking loss {name!r} has no option {some_of(unknown)}",
            hint=nearest_of(unknown[0], known, "It has"),
        )
    return partial(found, **options)
