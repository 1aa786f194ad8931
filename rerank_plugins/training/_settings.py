"""What a training run is told."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ._objectives import Objective

SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant"),
    *("constant_with_warmup", "inverse_sqrt"),
)
"""Those of transformers' ``lr_scheduler_type`` that need no arguments of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA adapter: what is trained instead of all weights.

    Args:
        rank: Of the two factors.
        alpha: The update is scaled by ``alpha / rank``; twice the rank when None.
        dropout: Of the adapter's input.
        modules: Names of the layers; all linear ones when None.
    """

    rank: int = 16
    alpha: int | None = None
    dropout: float = 0.0
    modules: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"rank is {self.rank}, expected at least 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}, expected a number from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How a reranker is trained.

    Args:
        epochs: Passes over the lists; in each, every list is shuffled anew.
        max_steps: Optimiser steps after which training ends, whatever the epochs.
        batch_size: Lists, or groups of them, in one forward pass of one device.
        accumulate: Forward passes in one optimiser step.
        learning_rate: At its highest.
        schedule: How the learning rate falls, one of `SCHEDULES`.
        warmup: Optimiser steps in which the learning rate grows.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are scaled down to this norm.
        shuffle: Whether passages are shown in a new random order in each epoch. A listwise model
            that sees them in the retriever's order learns places instead of texts.
        share_prefix: Read neighbouring lists that show the same passages together, as one group: a
            listwise prompt whose query comes after the passages then costs little more for ten
            queries than for one. Losses are the same up to rounding.
        objective: What is minimised; the kind's own when None.
        lora: An adapter, or None to train all weights.
        context_tokens: Prompt and target at most; the model's limit when None.
        dtype: Of the weights: float32 on a CPU where it is ``"auto"``.
        bf16: Compute in bfloat16 where it is safe (automatic mixed precision).
        device: ``"auto"`` or ``"cpu"``.
        gradient_checkpointing: Less memory, a third more time.
        neftune_alpha: Noise on the embeddings; None for none.
        evaluate_every: Optimiser steps between validations and checkpoints.
        patience: Validations without a gain after which training ends; None for never.
        seed: Of everything random.
        resume: Go on from the newest whole checkpoint in the output folder.

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
    context_tokens: int | None = None
    dtype: str = "auto"
    bf16: bool = False
    device: str = "auto"
    gradient_checkpointing: bool = False
    neftune_alpha: float | None = None
    evaluate_every: int = 50
    patience: int | None = None
    seed: int = 42
    resume: bool = True

    def __post_init__(self) -> None:
        whole = ("epochs", "batch_size", "accumulate", "evaluate_every")
        self._check((*whole, "max_steps", "context_tokens", "patience"), 1)
        self._check(("warmup", "weight_decay", "max_grad_norm", "neftune_alpha"), 0)
        if not 0 < self.learning_rate < 1:
            raise InputError(f"learning_rate is {self.learning_rate}, expected one between 0 and 1")
        if self.schedule not in SCHEDULES:
            raise InputError(
                f"there is no schedule {self.schedule!r}", hint=f"Known: {', '.join(SCHEDULES)}."
            )

    def _check(self, names: tuple[str, ...], least: int) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                raise InputError(f"{name} is {value}, expected at least {least}")

    def plain(self) -> dict[str, Any]:
        """The options as plain values, for the manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a training run.

    Attributes:
        folder: What `rerank_plugins.load_reranker` opens.
        steps: Optimiser steps.
        loss: Of the last logged step.
        ndcg: The best nDCG@10 on the validation lists; None without such lists.
        ndcg_before: That of the model as it was; None without such lists.
        history: What was logged: step, loss, learning rate, ndcg.
        skipped: Lists that taught nothing, because all their labels are equal.
    """

    folder: Path
    steps: int
    loss: float
    ndcg: float | None
    history: tuple[Mapping[str, float], ...] = field(repr=False)
    ndcg_before: float | None = None
    skipped: int = 0
