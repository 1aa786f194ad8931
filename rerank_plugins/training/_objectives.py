"""What is minimised: a ranking loss over a list's scores, beside a language-model loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ..calls import Call, Generate, Likelihood, NextToken, ScorePair
from ..errors import InputError
from .losses import RankingLoss, importance_aware_lm, language_model, ranking_loss

Kind = Literal["listwise", "pointwise", "likelihood", "written", "classifier"]
"""How a strategy's questions become scores."""

Scores = Callable[[torch.Tensor, Mapping[str, Any]], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``weight * ranking(scores) + lm_weight * NLL(target)``.

    Args:
        ranking: A loss of `losses.ranking_loss` over the scores of a list; None for none.
        weight: Its factor: FIRST's lambda, 10 for weighted RankNet.
        lm_weight: Of the mean negative log-likelihood of the target's tokens, in nats.
        importance: Whether a written order's first places count more (the full-ranking paper).
        options: Of the ranking loss, such as ``{"temperature": 2.0}``.
    """

    ranking: str | None = "ranknet"
    weight: float = 10.0
    lm_weight: float = 1.0
    importance: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ranking is not None:
            ranking_loss(self.ranking, **self.options)
        for name in ("weight", "lm_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} is {value}, expected a number of at least 0")
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
"""What is minimised where the caller does not say."""


def kind_of(asked: tuple[Call[Any], ...]) -> Kind:
    """How the questions about one list become scores.

    Raises:
        InputError: They are of a kind that is not trained.
    """
    match asked[0]:
        case NextToken() if len(asked) == 1:
            return "listwise"
        case NextToken(labels=labels) if len(labels) == 2:
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
    """Refuse what this kind of strategy has nothing for.

    Raises:
        InputError: A ranking loss for written answers, which have no scores; a language-model loss
            where nothing is written; or no loss at all.
    """
    ranks = objective.ranking is not None
    if ranks and kind not in SCORES:
        raise InputError(
            f"a written answer has no scores for the ranking loss {objective.ranking!r}",
            hint="Leave it out: the written answer itself is what is learned.",
        )
    if kind in ("pointwise", "classifier"):
        if objective.lm_weight or objective.importance:
            raise InputError("this strategy's model writes nothing that lm_weight could weigh")
        if not ranks:
            raise InputError("this strategy needs a ranking loss")
    elif objective.importance and kind == "likelihood":
        raise InputError("importance weighs a written order, and this strategy has none")


def minimised(
    kind: Kind, objective: Objective, logits: torch.Tensor, batch: Mapping[str, Any]
) -> torch.Tensor:
    """The loss of a batch, a scalar.

    Args:
        kind: How logits become scores.
        objective: What is minimised.
        logits: The model's: ``(R, kept, vocabulary)``, or ``(R, 1)`` of a classifier, or of a
            packed batch ``(1, all that is kept, vocabulary)``.
        batch: From `Collator`.
    """
    if "unpack" in batch:
        logits = logits[0][batch["unpack"]]
    logits = logits.float()  # sums of exponentials in 16 bits lose the order
    total = logits.new_zeros(())
    ranking = objective.loss()
    if ranking is not None:
        scores = SCORES[kind](logits, batch)
        total = total + objective.weight * ranking(
            scores, batch["relevance"], batch["teacher"], batch["where"]
        )
    if objective.lm_weight:
        total = total + objective.lm_weight * _written(kind, objective, logits, batch)
    return total


def _written(
    kind: Kind, objective: Objective, logits: torch.Tensor, batch: Mapping[str, Any]
) -> torch.Tensor:
    targets = batch["targets"]
    if kind == "likelihood":  # only what is relevant should make the query likely
        targets = targets.masked_fill(~_best(batch)[:, None], -100)
    if objective.importance:
        return importance_aware_lm(logits, targets, batch["ranks"])
    return language_model(logits, targets)


def _best(batch: Mapping[str, Any]) -> torch.Tensor:
    """Which rows, one a passage, are about a passage with its list's highest label."""
    relevance = batch["relevance"].masked_fill(~batch["where"], -torch.inf)
    best: torch.Tensor = relevance == relevance.max(dim=1, keepdim=True).values
    return best[batch["where"]]


def _listwise(logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    """The logit of each identifier after the prompt, ``(B, n)``."""
    return _after_prompt(logits, batch)


def _pointwise(logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    """Log-odds of the first label against the second, ``(B, n)``."""
    pair = _after_prompt(logits, batch)
    return _per_list(pair[:, 0] - pair[:, 1], batch)


def _likelihood(logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    """Mean log-probability of the query's tokens, nats, ``(B, n)``."""
    where = batch["targets"] >= 0
    targets = batch["targets"].clamp(min=0)
    each = torch.log_softmax(logits, -1).gather(-1, targets[..., None])[..., 0]
    return _per_list((each * where).sum(-1) / where.sum(-1), batch)


def _classifier(logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    return _per_list(logits[:, 0], batch)


def _after_prompt(logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, batch["last"]].gather(-1, batch["candidates"].clamp(min=0))


def _per_list(flat: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    """One score a row, as lists; padding holds zeros."""
    where = batch["where"]
    return flat.new_zeros(where.shape).masked_scatter(where, flat)


SCORES: Mapping[Kind, Scores] = {
    "listwise": _listwise,
    "pointwise": _pointwise,
    "likelihood": _likelihood,
    "classifier": _classifier,
}
"""From logits to scores ``(B, n)``; a written answer has none."""
