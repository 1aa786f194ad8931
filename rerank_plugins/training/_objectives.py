"""Training objectives: a ranking loss over a list's scores beside a language model's loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from .._checks import at_least
from ..calls import Call, Generate, Likelihood, NextToken, ScorePair
from ..errors import InputError
from .losses import RankingLoss, importance_aware_lm, language_model, ranking_loss

Kind = Literal["listwise", "pointwise", "likelihood", "written", "classifier"]
"""How a strategy's questions become scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``weight * ranking(scores) + lm_weight * NLL(target)``.

    Args:
        ranking: The name of a loss over the scores of a list, see `losses.ranking_loss`; None for
            none.
        weight: Its factor: FIRST's lambda, 10 for weighted RankNet.
        lm_weight: The factor of the mean negative log-likelihood of the target's tokens, in nats.
        importance: Whether a written order's first places count more (the full-ranking paper).
        options: The ranking loss's options, such as ``{"temperature": 2.0}``.
    """

    ranking: str | None = "ranknet"
    weight: float = 10.0
    lm_weight: float = 1.0
    importance: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ranking is not None:
            ranking_loss(self.ranking, **self.options)
        at_least(0.0, weight=self.weight, lm_weight=self.lm_weight)
        if not (self.ranking and self.weight) and not self.lm_weight:
            raise InputError("nothing is minimised: give a ranking loss or lm_weight")

    def loss(self) -> RankingLoss | None:
        """The ranking loss with its options."""
        return ranking_loss(self.ranking, **self.options) if self.ranking else None


DEFAULTS: Mapping[Kind, Objective] = {
    "listwise": Objective(),  # FIRST
    "pointwise": Objective(ranking="bce", weight=1.0, lm_weight=0.0),
    "likelihood": Objective(ranking="listnet", weight=1.0, lm_weight=1.0),
    "written": Objective(ranking=None, importance=True),
    "classifier": Objective(ranking="bce", weight=1.0, lm_weight=0.0),
}
"""The objective of each kind where the caller gives none."""


def kind_of(asked: tuple[Call[Any], ...]) -> Kind:
    """Tell from the questions about one list how they become scores.

    Raises:
        InputError: Questions of this kind are not trained.
    """
    match asked[0]:
        case NextToken() if len(asked) == 1:
            return "listwise"
        case NextToken(labels=labels) if len(labels) <= 2:
            return "pointwise"
        case NextToken(labels=labels):
            raise InputError(
                f"a choice between {len(labels)} labels for each passage is not trained",
                hint="Train yes or no (pointwise), or written grades (groupwise).",
            )
        case Likelihood():
            return "likelihood"
        case Generate():
            return "written"
        case ScorePair():
            return "classifier"
    raise InputError(f"{type(asked[0]).__name__} is not a question to a model")


def check_objective(kind: Kind, objective: Objective) -> None:
    """Refuse an objective that this kind of strategy cannot have.

    Raises:
        InputError: A ranking loss for written answers, which have no scores; a language-model loss
            where nothing is written; or no loss at all.
    """
    ranks = objective.ranking is not None
    if ranks and kind == "written":
        raise InputError(
            f"a written answer has no scores for the ranking loss {objective.ranking!r}",
            hint="Leave it out: the model learns the written answer itself.",
        )
    if kind in ("pointwise", "classifier"):
        if objective.lm_weight or objective.importance:
            raise InputError("this strategy's model writes nothing that lm_weight could weigh")
        if not ranks:
            raise InputError("this strategy needs a ranking loss")
    elif objective.importance and kind == "likelihood":
        raise InputError("importance weighs a written order, and this strategy has none")


def batch_loss(
    kind: Kind, objective: Objective, logits: torch.Tensor, batch: Mapping[str, Any]
) -> torch.Tensor:
    """The loss of a batch, a scalar.

    Args:
        kind: How logits become scores.
        objective: The losses and their weights.
        logits: The model's: ``(R, kept, vocabulary)``, or ``(R, 1)`` of a classifier, or of a
            packed batch ``(1, all that is kept, vocabulary)``.
        batch: From `Collator`.
    """
    if "unpack" in batch:
        logits = logits[0][batch["unpack"]]
    logits = logits.float()  # sums of exponentials in 16 bits lose the order
    total = logits.new_zeros(())
    where = batch["where"]
    ranking = objective.loss()
    if ranking is not None:
        scores = _scores(kind, logits, batch)
        lists = (batch["relevance"], batch["teacher"], where)
        total = total + objective.weight * ranking(scores, *lists)
    if objective.lm_weight:
        targets = batch["targets"]
        if kind == "likelihood":  # only a passage with its list's best label should predict it
            relevance = batch["relevance"].masked_fill(~where, -torch.inf)
            best = relevance == relevance.max(dim=1, keepdim=True).values
            targets = targets.masked_fill(~best[where][:, None], -100)
        if objective.importance:
            written = importance_aware_lm(logits, targets, batch["ranks"])
        else:
            written = language_model(logits, targets)
        total = total + objective.lm_weight * written
    return total


def _scores(kind: Kind, logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    """The score of each passage, ``(B, n)``, 0 at padding.

    ``listwise``: the logit of its identifier after the prompt. ``pointwise``: the log-odds of the
    first label against the second, or the logit of the only one. ``likelihood``: the mean
    log-probability of the query's tokens, nats. ``classifier``: the logit.
    """
    if kind in ("listwise", "pointwise"):
        rows = torch.arange(len(logits), device=logits.device)
        labels = logits[rows, batch["last"]].gather(-1, batch["candidates"].clamp(min=0))
        if kind == "listwise":
            return labels
        each = labels[:, 0] - labels[:, 1:].sum(-1)
    elif kind == "likelihood":
        known = batch["targets"] >= 0
        targets = batch["targets"].clamp(min=0)
        tokens = torch.log_softmax(logits, -1).gather(-1, targets[..., None])[..., 0]
        each = (tokens * known).sum(-1) / known.sum(-1)
    else:
        each = logits[:, 0]
    where = batch["where"]
    return each.new_zeros(where.shape).masked_scatter(where, each)
