"""Options and result of a training run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .._checks import at_least, one_of
from ..errors import InputError
from ._objectives import Objective

SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant"),
    *("constant_with_warmup", "inverse_sqrt"),
)
"""The values of transformers' ``lr_scheduler_type`` that need no further arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA adapter: trained instead of all weights.

    Args:
        rank: The rank of the two factors.
        alpha: The update is scaled by ``alpha / rank``; twice the rank when None.
        dropout: The share of the adapter's inputs that is dropped, from 0 to below 1.
        modules: Names of the layers; all linear ones when None.
    """

    rank: int = 16
    alpha: int | None = None
    dropout: float = 0.0
    modules: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        at_least(1, rank=self.rank)
        _check_dropout(self.dropout)


def _check_dropout(share: float) -> None:
    if not 0 <= share < 1:
        raise InputError(f"dropout is {share}, expected a number from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Options of a training run.

    Args:
        epochs: Passes over the lists; in each, every list is shuffled again.
        max_steps: Optimiser steps after which training ends, whatever the epochs.
        batch_size: Lists, or groups of them, in one forward pass of one device.
        accumulate: Forward passes in one optimiser step.
        learning_rate: The highest learning rate, between 0 and 1.
        schedule: How the learning rate falls, one of `SCHEDULES`.
        warmup: Optimiser steps in which the learning rate grows.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are scaled down to this norm.
        shuffle: Whether passages are shown in a new random order in each epoch. A listwise model
            that sees them in the retriever's order learns places instead of texts.
        share_prefix: Read neighbouring lists that show the same passages together, as one group: a
            listwise prompt whose query comes after the passages then costs little more for ten
            queries than for one. Losses are the same up to rounding. Prompts that share less than
            half are read one by one.
        objective: The losses and their weights; those of the strategy's kind when None.
        lora: An adapter, or None to train all weights.
        late_interaction: Train an encoder whose tokens' vectors are compared (ColBERT), instead of
            a classifier that reads query and passage together. Only for pairs (`PairScore`).
        context_tokens: The most tokens of prompt and target, or of a passage for late interaction;
            the model's limit when None.
        dtype: The type of the weights. ``"auto"`` is float32, and under an adapter on a GPU the
            checkpoint's own.
        bf16: Compute in bfloat16 where it is safe (automatic mixed precision).
        device: ``"auto"`` or ``"cpu"``.
        gradient_checkpointing: Needs less memory and a third more time.
        neftune_alpha: Noise on the embeddings; None for none.
        dropout: The share of hidden values and of attention that is dropped, from 0 to below 1; the
            checkpoint's own when None. With 0 a CPU trains all-MiniLM-L6-v2 in two thirds of the
            time with 160 tokens, and in a third with 512.
        evaluate_every: Optimiser steps between validations and checkpoints.
        patience: Validations without a gain after which training ends; None for never.
        seed: The seed of everything random.
        resume: Continue from the newest whole checkpoint in the output folder.

    Raises:
        InputError: A number is out of range.
    """

    epochs: int = 1
    max_steps: int | None = None
    batch_size: int = 1
    accumulate: int = 8
    learning_rate: float = 2e-4
    schedule: str = "cosine"
    warmup: int = 10
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    shuffle: bool = True
    share_prefix: bool = True
    objective: Objective | None = None
    lora: Lora | None = None
    late_interaction: bool = False
    context_tokens: int | None = None
    dtype: str = "auto"
    bf16: bool = False
    device: str = "auto"
    gradient_checkpointing: bool = False
    neftune_alpha: float | None = None
    dropout: float | None = None
    evaluate_every: int = 50
    patience: int | None = None
    seed: int = 42
    resume: bool = True

    def __post_init__(self) -> None:
        at_least(1, **self._of("epochs", "batch_size", "accumulate", "evaluate_every"))
        at_least(1, none=True, **self._of("max_steps", "context_tokens", "patience"))
        at_least(0, warmup=self.warmup)
        at_least(0.0, **self._of("weight_decay", "max_grad_norm"))
        at_least(0.0, none=True, neftune_alpha=self.neftune_alpha)
        if not 0 < self.learning_rate < 1:
            raise InputError(f"learning_rate is {self.learning_rate}, expected one between 0 and 1")
        if self.dropout is not None:
            _check_dropout(self.dropout)
        one_of("schedule", self.schedule, SCHEDULES)

    def _of(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}

    def plain(self) -> dict[str, Any]:
        """The options as plain values, for the manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The result of a training run.

    Attributes:
        folder: The folder that `rerank_plugins.load_reranker` opens.
        steps: Optimiser steps.
        loss: The loss of the last logged step.
        ndcg: The best nDCG@10 on the validation lists; None without such lists.
        ndcg_before: nDCG@10 of the untrained model; None without such lists.
        history: The logged values: step, loss, learning rate, ndcg.
        skipped: Lists that were left out, because all their labels are equal.
    """

    folder: Path
    steps: int
    loss: float
    ndcg: float | None
    history: tuple[Mapping[str, float], ...] = field(repr=False)
    ndcg_before: float | None = None
    skipped: int = 0
