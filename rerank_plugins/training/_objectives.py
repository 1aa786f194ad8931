"""Training objectives: a ranking loss over a list's scores beside a language model's loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from .._checks import at_least, positive
from ..calls import Call, Generate, Likelihood, NextToken, ScorePair
from ..errors import InputError
from .losses import RankingLoss, importance_aware_lm, language_model, ranking_loss

Kind = Literal["listwise", "pointwise", "likelihood", "written", "classifier", "late-interaction"]
"""How a strategy's questions become scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``weight * ranking(scale * scores) + lm_weight * NLL(target)``.

    Args:
        ranking: The name of a loss over the scores of a list, see `losses.ranking_loss`; None for
            none.
        weight: Its factor: FIRST's lambda, 10 for weighted RankNet.
        lm_weight: The factor of the mean negative log-likelihood of the target's tokens, in nats.
        importance: Whether a written order's first places count more (the full-ranking paper).
        options: The ranking loss's options, such as ``{"temperature": 2.0}``.
        scale: The factor of the scores before the ranking loss; when None, 1, and 30 for late
            interaction, whose mean cosines differ by a few hundredths within a list.
    """

    ranking: str | None = "ranknet"
    weight: float = 10.0
    lm_weight: float = 1.0
    importance: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.ranking is not None:
            ranking_loss(self.ranking, **self.options)
        at_least(0.0, weight=self.weight, lm_weight=self.lm_weight)
        positive(none=True, scale=self.scale)
        if not (self.ranking and self.weight) and not self.lm_weight:
            raise InputError("nothing is minimised: give a ranking loss or lm_weight")

    def loss(self) -> RankingLoss | None:
        """The ranking loss with its options."""
        return ranking_loss(self.ranking, **self.options) if self.ranking else None


_COSINES = 30.0
"""The factor that spreads mean cosines within a list as logits are spread."""

DEFAULTS: Mapping[Kind, Objective] = {
    "listwise": Objective(),  # FIRST
    "pointwise": Objective(ranking="bce", weight=1.0, lm_weight=0.0),
    "likelihood": Objective(ranking="listnet", weight=1.0, lm_weight=1.0),
    "written": Objective(ranking=None, importance=True),
    "classifier": Objective(ranking="bce", weight=1.0, lm_weight=0.0),
    "late-interaction": Objective(ranking="cross-entropy", weight=1.0, lm_weight=0.0),
}
"""The objective of each kind where the caller gives none."""


def kind_of(asked: tuple[Call[Any], ...], *, late_interaction: bool = False) -> Kind:
    """Tell from the questions about one list how they become scores.

    Args:
        asked: The questions.
        late_interaction: Whether pairs are scored by late interaction.

    Raises:
        InputError: Questions of this kind are not trained, or not for late interaction.
    """
    if late_interaction and not isinstance(asked[0], ScorePair):
        raise InputError(
            f"late interaction scores pairs, and this strategy asks for {type(asked[0]).__name__}",
            hint="Train the strategy pair-score.",
        )
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
            return "late-interaction" if late_interaction else "classifier"
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
    if kind in ("pointwise", "classifier", "late-interaction"):
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
            packed batch ``(1, all that is kept, vocabulary)``; for late interaction the last hidden
            states ``(R, L, dim)``.
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
        scale = objective.scale or (_COSINES if kind == "late-interaction" else 1.0)
        total = total + objective.weight * ranking(scale * scores, *lists)
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
    log-probability of the query's tokens, nats. ``classifier``: the logit. ``late-interaction``:
    see `late_interaction`.
    """
    if kind == "late-interaction":
        return late_interaction(logits, batch["counted"], batch["where"])
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


def late_interaction(
    states: torch.Tensor, counted: torch.Tensor, where: torch.Tensor
) -> torch.Tensor:
    r"""ColBERT's MaxSim of each passage, as `LateInteractionBackend` scores it.

    .. math:: s_i = \frac{1}{|Q|} \sum_{q \in Q} \max_{d \in D_i} \cos(q, d)

    Args:
        states: Hidden states, ``(R, L, dim)``: of each list its query, then its passages.
        counted: Which tokens count, ``(R, L)``; at least one in each row.
        where: False at padding, ``(B, n)``.

    Returns:
        Mean cosines, -1 to 1, shape ``(B, n)``; 0 at padding.

    References:
        Khattab and Zaharia, ColBERT, arXiv:2004.12832, 2020.

    Examples:
        >>> states = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [9.0, 9.0]]])
        >>> counted = torch.tensor([[True, True], [True, False]])
        >>> late_interaction(states, counted, torch.tensor([[True]])).item()
        0.5
    """
    vectors = torch.nn.functional.normalize(states.float(), dim=-1)
    found = vectors.new_zeros(where.shape)
    lists, start = [], 0
    for size in where.sum(1).tolist():
        query, passages = start, slice(start + 1, start + 1 + size)
        cosines = vectors[passages] @ vectors[query][counted[query]].T  # (size, L, |Q|)
        best = cosines.masked_fill(~counted[passages][..., None], -torch.inf).amax(1)
        lists.append(best.mean(1))
        start += 1 + size
    return found.masked_scatter(where, torch.cat(lists))
