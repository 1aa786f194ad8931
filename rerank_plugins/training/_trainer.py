"""The training loop: Hugging Face's Trainer, given our batches, losses and validation."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..backends._local.loading import chosen_device, quiet
from ..errors import ConfigurationError
from ._batches import MODEL_INPUTS, Collator
from ._encoding import EncodedList
from ._folder import is_disk_error
from ._model import Encode, Trainee
from ._objectives import DEFAULTS, Kind, minimised
from ._packing import Group, shuffled
from ._settings import TrainingOptions

_STATE = "trainer_state.json"
_NDCG = "eval_ndcg"


@dataclass(frozen=True)
class Epochs(torch.utils.data.Dataset[list[EncodedList]]):
    """Every group of lists once an epoch; the seed alone decides on their order and passages'.

    Item ``i`` is the same in every process and after every restart.
    """

    rows: Sequence[Group]
    encode: Encode
    epochs: int
    seed: int
    shuffle: bool

    def __len__(self) -> int:
        return self.epochs * len(self.rows)

    def __getitem__(self, i: int) -> list[EncodedList]:
        epoch, place = divmod(i, len(self.rows))
        order = torch.randperm(
            len(self.rows), generator=torch.Generator().manual_seed(self.seed + epoch)
        )
        group = self.rows[int(order[place])]
        if self.shuffle:
            group = shuffled(group, self.seed * 1_000_003 + i)
        return [self.encode(row) for row in group]


class RankingTrainer(Trainer):
    """`transformers.Trainer` with a ranking objective, validated by ranking.

    Args:
        trainee: What is trained.
        kind: How its logits become scores.
        options: How it is trained.
        rows: What it is trained on, in groups that may be read together.
        validate: Returns the nDCG of the weights as they are; None where there is nothing to
            validate on.
        output: Where checkpoints go.
        progress: Whether to draw a progress bar.
    """

    def __init__(
        self,
        trainee: Trainee,
        kind: Kind,
        options: TrainingOptions,
        rows: Sequence[Group],
        validate: Callable[[], float] | None,
        output: Path,
        *,
        progress: bool,
    ) -> None:
        self._kind, self._validate = kind, validate
        self._objective = options.objective or DEFAULTS[kind]
        epochs = _epochs(options, len(rows))
        data = Epochs(rows, trainee.encode, epochs, options.seed, options.shuffle)
        super().__init__(
            model=trainee.model,
            args=_arguments(options, output, validated=validate is not None, progress=progress),
            train_dataset=data,
            eval_dataset=data,  # one is asked for; `evaluate` ranks the validation lists instead
            data_collator=Collator(
                trainee.tokenizer.pad_token_id or 0, classifier=kind == "classifier"
            ),
        )
        if self.args.n_gpu > 1:  # PyTorch would split a packed batch
            raise ConfigurationError(
                f"one process sees {self.args.n_gpu} GPUs",
                hint="Give it one (CUDA_VISIBLE_DEVICES=0), or each its own process: torchrun.",
            )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False  # so that the mean over accumulated batches is taken
        self.add_callback(_LastStep())
        if validate is not None and options.patience is not None:
            self.add_callback(EarlyStoppingCallback(options.patience))

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002 - lists are averaged, not tokens
    ) -> Any:
        """The objective of a batch."""
        given = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        if "unpack" in inputs:  # an additive mask is of the model's kind of number
            inner: Any = self.model  # a wrapper for several devices has no dtype
            given["attention_mask"] = given["attention_mask"].to(inner.dtype)
        output = model(**given)
        loss = minimised(self._kind, self._objective, output.logits, inputs)
        return (loss, output) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Rank the validation lists."""
        if self._validate is None:
            return {}
        model: Any = self.model
        training = model.training
        model.eval()
        found = {_NDCG: self._validate()}
        model.train(training)
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _get_train_sampler(self, *_: Any) -> Any:
        """In order: `Epochs` has shuffled already."""
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


def _epochs(options: TrainingOptions, groups: int) -> int:
    """Passes over the groups, enough for ``max_steps``: a second reading would repeat orders."""
    needed = (options.max_steps or 0) * options.accumulate * options.batch_size
    return max(options.epochs, -(-needed // groups))


class _LastStep(TrainerCallback):
    """Validates and saves the last step too, or the best could not be it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if state.global_step >= state.max_steps:
            control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"
        return control

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        """End before weights that are no numbers replace a checkpoint."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise ConfigurationError(
                f"the loss became {loss}",
                hint="Lower the learning rate, or use dtype='float32'.",
            )


def _arguments(
    options: TrainingOptions, output: Path, *, validated: bool, progress: bool
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulate,
        num_train_epochs=1,  # the dataset holds them all
        max_steps=options.max_steps or -1,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.schedule,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        bf16=options.bf16,
        use_cpu=chosen_device(options.device) == "cpu",
        neftune_noise_alpha=options.neftune_alpha,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validated else "no",
        eval_steps=options.evaluate_every,
        save_steps=options.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=validated,
        metric_for_best_model=_NDCG if validated else None,
        greater_is_better=True if validated else None,
        restore_callback_states_from_checkpoint=True,  # patience goes on where it was
        seed=options.seed,
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=not progress,
        dataloader_pin_memory=torch.cuda.is_available(),
        **(checkpointing() if options.gradient_checkpointing else {}),
    )


def checkpointing() -> dict[str, Any]:
    """What turns gradient checkpointing on: transformers 5.24 gave it a new name."""
    known = {f.name for f in fields(TrainingArguments)}
    new = "activation_checkpointing" in known
    return {"activation_checkpointing" if new else "gradient_checkpointing": True}


def newest_checkpoint(output: Path) -> Path | None:
    """The newest checkpoint that was written to its end; one that a full disk cut short is none.

    The trainer writes its state last, and removes an old checkpoint only after that.
    """
    for path in sorted(_checkpoints(output), key=_number, reverse=True):
        state = path / _STATE
        if state.is_file() and state.stat().st_size and state.read_text("utf-8").endswith("}\n"):
            return path
    return None


def _checkpoints(output: Path) -> Iterator[Path]:
    for path in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if path.is_dir() and _number(path) >= 0:
            yield path


def _number(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def run_trainer(trainer: Trainer, resume: Path | None) -> None:
    """Train to the end.

    Raises:
        ConfigurationError: A checkpoint could not be written, or the loss is no number.
    """
    validated = trainer.args.eval_strategy != "no"
    trainer.args.eval_on_start = validated and resume is None
    try:
        with quiet(transformers):
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except Exception as error:
        if not is_disk_error(error):
            raise
        last = newest_checkpoint(Path(str(trainer.args.output_dir)))
        raise ConfigurationError(
            f"a checkpoint could not be written: {error}",
            hint="Free some space and run the same command again; it goes on from "
            + (f"{last.name}." if last else "the beginning."),
        ) from error
