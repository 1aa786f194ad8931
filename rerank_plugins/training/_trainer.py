"""The training loop: Hugging Face's Trainer, given our batches, losses and validation."""

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

from ..backends._local.loading import chosen_device, quiet
from ..errors import ConfigurationError
from ..evaluation import evaluate
from ..handlers import AnyBackend
from ..ranking import Strategy
from ..reranker import Reranker
from ._batches import MODEL_INPUTS, Group, shuffle_group
from ._encoding import EncodedList
from ._folder import is_disk_error, newest_checkpoint
from ._model import Trainee
from ._objectives import DEFAULTS, batch_loss
from ._settings import TrainingOptions
from .data import TrainingList

_NDCG = "eval_ndcg"
_MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Epochs(torch.utils.data.Dataset[list[EncodedList]]):
    """Every group of lists once an epoch; the seed alone decides on their order and passages'.

    Item ``i`` is the same in every process and after every restart.
    """

    rows: Sequence[Group]
    encode: Callable[[TrainingList], EncodedList]
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
            group = shuffle_group(group, self.seed * 1_000_003 + i)
        return [self.encode(row) for row in group]


class RankingTrainer(Trainer):
    """`transformers.Trainer` with a ranking objective, validated by ranking.

    Args:
        trainee: The model to train.
        options: How to train it.
        groups: The training lists, in groups that may be read together.
        validation: Lists that are ranked now and then; there may be none.
        output: The folder of the checkpoints.
        progress: Whether to draw a progress bar.
    """

    def __init__(
        self,
        trainee: Trainee,
        options: TrainingOptions,
        groups: Sequence[Group],
        validation: Sequence[TrainingList],
        output: Path,
        *,
        progress: bool,
    ) -> None:
        self._trainee, self._validation = trainee, validation
        self._objective = options.objective or DEFAULTS[trainee.kind]
        # Enough epochs for ``max_steps``: reading the data again would repeat the orders.
        needed = (options.max_steps or 0) * options.accumulate * options.batch_size
        epochs = max(options.epochs, -(-needed // len(groups)))
        data = Epochs(groups, trainee.encode, epochs, options.seed, options.shuffle)
        super().__init__(
            model=trainee.model,
            args=_arguments(options, output, validated=bool(validation), progress=progress),
            train_dataset=data,
            eval_dataset=data,  # the Trainer wants one; `evaluate` ranks the validation lists
            data_collator=trainee.collate,
        )
        if self.args.n_gpu > 1:  # PyTorch would split a packed batch
            raise ConfigurationError(
                f"one process sees {self.args.n_gpu} GPUs",
                hint="Give it one (CUDA_VISIBLE_DEVICES=0), or each its own process: torchrun.",
            )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False  # so that the mean over accumulated batches is taken
        self.add_callback(_LastStep())
        if validation and options.patience is not None:
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
        if "unpack" in inputs:  # an additive mask has the model's dtype
            inner: Any = self.model  # a wrapper for several devices has no dtype
            given["attention_mask"] = given["attention_mask"].to(inner.dtype)
        output = model(**given)
        kind = self._trainee.kind
        found = output.last_hidden_state if kind == "late-interaction" else output.logits
        loss = batch_loss(kind, self._objective, found, inputs)
        return (loss, output) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Rank the validation lists."""
        if not self._validation:
            return {}
        model: Any = self.model
        training = model.training
        model.eval()
        strategy = self._trainee.encode.strategy
        with self.accelerator.autocast():  # in the arithmetic of the training
            found = {_NDCG: ndcg(strategy, self._trainee.backend, self._validation)}
        model.train(training)
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _get_train_sampler(self, *_: Any) -> Any:
        """In order: `Epochs` has shuffled already."""
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


class _LastStep(TrainerCallback):
    """Validates and saves the last step too, or the best could not be it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if state.global_step >= state.max_steps:
            control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"
        return control

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> Any:  # noqa: ARG002
        """End before weights that are not numbers replace a checkpoint."""
        loss = (given.get("logs") or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise ConfigurationError(
                f"the loss became {loss} at step {state.global_step} of {state.max_steps}",
                hint="Lower the learning rate, or use dtype='float32'.",
            )


def ndcg(strategy: Strategy, backend: AnyBackend, rows: Sequence[TrainingList]) -> float:
    """Mean nDCG@10 of the lists in the reranker's order, with their labels as grades.

    Labels are taken as grades where they are whole numbers of at least 0; other labels (a teacher's
    scores, minus the ranks) count by their order, the highest as relevant.

    Raises:
        CallError: The model failed.
    """
    reranker = Reranker(strategy, backend)
    rankings = reranker.rank_many([(row.query, row.passages) for row in rows])
    run, qrels = {}, {}
    for i, (row, ranking) in enumerate(zip(rows, rankings, strict=True)):
        run[str(i)] = [str(position) for position in ranking.order]
        qrels[str(i)] = {str(p): grade for p, grade in enumerate(grades(row.labels))}
    return float(evaluate(run, qrels, [_MEASURE])[_MEASURE])


def grades(labels: Sequence[float]) -> list[int]:
    """Labels as the whole numbers that nDCG takes.

    Examples:
        >>> grades((0, 2, 1)), grades((-3.0, -1.0, -2.0))
        ([0, 2, 1], [0, 1, 0])
    """
    if all(label >= 0 and label == int(label) for label in labels):
        return [int(label) for label in labels]
    best = max(labels)
    return [int(label == best) for label in labels]


def _arguments(
    options: TrainingOptions, output: Path, *, validated: bool, progress: bool
) -> TrainingArguments:
    given = common_arguments(options, output)
    if options.gradient_checkpointing:  # transformers 5.24 renamed it
        new = "activation_checkpointing" in {f.name for f in fields(TrainingArguments)}
        given["activation_checkpointing" if new else "gradient_checkpointing"] = True
    return TrainingArguments(
        **given,
        num_train_epochs=1,  # the dataset holds them all
        neftune_noise_alpha=options.neftune_alpha,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validated else "no",
        eval_steps=options.evaluate_every,
        load_best_model_at_end=validated,
        metric_for_best_model=_NDCG if validated else None,
        greater_is_better=True if validated else None,
        restore_callback_states_from_checkpoint=True,  # patience continues from its count
        remove_unused_columns=False,
        disable_tqdm=not progress,
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_num_workers=workers(chosen_device(options.device)),
    )


def workers(device: str) -> int:
    """Processes that turn lists into tokens: a GPU would wait for one, a CPU has better work.

    None where a new process is not a copy of this one: the model would have to be sent to it.
    """
    is_copied = multiprocessing.get_all_start_methods()[0] == "fork"  # the first is the default
    return min(8, (os.cpu_count() or 1) - 1) if device.startswith("cuda") and is_copied else 0


def common_arguments(options: TrainingOptions, output: Path) -> dict[str, Any]:
    """The trainer's arguments that are the same with labels and with rewards."""
    return {
        "output_dir": str(output),
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.accumulate,
        "max_steps": options.max_steps or -1,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": options.schedule,
        "warmup_steps": options.warmup,
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.max_grad_norm,
        "bf16": options.bf16,
        "use_cpu": chosen_device(options.device) == "cpu",
        "logging_steps": 1,
        "save_steps": options.evaluate_every,
        "save_total_limit": 2,
        "seed": options.seed,
        "report_to": [],
    }


@contextmanager
def _without_cudnn_attention() -> Iterator[None]:
    """Do without cuDNN's attention, as prompts are padded on the left.

    On an H100 (torch 2.11) its gradients were not numbers for some batches in which whole rows are
    masked: all 29 of 2,900 were 64 tokens longer than a multiple of 128.
    """
    cuda: Any = torch.backends.cuda  # its annotations are not complete
    before = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(before)


def run_trainer(trainer: Trainer, *, resume: bool) -> list[dict[str, float]]:
    """Train to the end, and return what was logged.

    Args:
        trainer: The trainer.
        resume: Whether to continue from the newest whole checkpoint.

    Raises:
        ConfigurationError: A checkpoint could not be written, or the loss is not a number.
    """
    output = Path(str(trainer.args.output_dir))
    newest = newest_checkpoint(output) if resume else None
    validated = trainer.args.eval_strategy != "no"
    trainer.args.eval_on_start = validated and newest is None
    try:
        with quiet(transformers), _without_cudnn_attention():
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    except Exception as error:
        if not is_disk_error(error):
            raise
        last = newest_checkpoint(output)
        raise ConfigurationError(
            f"a checkpoint could not be written: {error}",
            hint="Free some space and run the same command again; it resumes from "
            + (f"{last.name}." if last else "the beginning."),
        ) from error
    return [dict(line) for line in trainer.state.log_history]
