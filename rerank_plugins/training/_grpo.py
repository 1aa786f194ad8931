"""Training with rewards: GRPO through TRL, for answers that no label writes out (reasoning)."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .._extras import extra
from ..backends._local.loading import chosen_device
from ..calls import Call, Generate
from ..errors import InputError, PromptTooLongError
from ..ranking import Strategy
from ._answers import built, innermost, one_question
from ._encoding import PromptEncoder, shown
from ._finished import finish
from ._folder import CHECKPOINTS, check_output, identity, prepare
from ._model import load_trainee
from ._questions import questions
from ._settings import Trained, TrainingOptions
from .data import TrainingList
from .rewards import erank_reward, grouprank_reward, reasonrank_reward

Reward = Callable[..., list[float]]
REWARDS: Mapping[str, Reward] = {
    "erank": erank_reward,
    "grouprank": grouprank_reward,
    "reasonrank": reasonrank_reward,
}
"""The papers' rewards by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoOptions:
    """What GRPO needs beside `TrainingOptions`.

    Args:
        generations: Answers to each prompt, which are compared with each other.
        max_tokens: Of an answer.
        temperature: Of sampling.
        beta: Of the KL divergence from the model as it was.
    """

    generations: int = 8
    max_tokens: int = 1024
    temperature: float = 1.0
    beta: float = 0.001

    def __post_init__(self) -> None:
        if self.generations < 2:
            raise InputError(f"generations is {self.generations}, expected at least 2")
        if self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}, expected at least 1")
        if self.temperature <= 0:
            raise InputError(f"temperature is {self.temperature}, expected a positive number")


def train_with_rewards(
    model: str | Path,
    strategy: Strategy | str | Mapping[str, Any],
    rows: Sequence[TrainingList],
    reward: Reward | str,
    output: str | Path,
    *,
    options: TrainingOptions | None = None,
    grpo: GrpoOptions | None = None,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a model by rewards for what it writes, with TRL's ``GRPOTrainer``.

    The prompts are the strategy's own, rendered as when serving. A reward gets, beside the
    completions, the columns ``labels`` (one list a completion, in the order of its prompt),
    ``order`` (the gold order as positions), ``query_id`` and, where the strategy asks about
    passages one by one, ``label`` and ``reference`` (the list's ``teacher`` score).

    Args:
        model: The base, as for `rerank_plugins.training.train`.
        strategy: How it will rank; one whose answer is written.
        rows: What it learns from.
        reward: A name (``"grouprank"``, ``"reasonrank"``, ``"erank"``), or a function of the same
            signature.
        output: As for `rerank_plugins.training.train`: an interrupted run goes on.
        options: Learning rate, steps, adapter, seed, context; ``batch_size`` times ``accumulate``
            answers make an optimiser step, and must be a multiple of ``grpo.generations``. What
            belongs to labels and validation (``objective``, ``patience``, ``neftune_alpha``) must
            be left out.
        grpo: See `GrpoOptions`.
        about: Noted in ``reranker.json``.

    Raises:
        InputError: The strategy writes nothing, the reward is not known, an option means nothing
            here, or the folder holds another run.
        PromptTooLongError: A prompt and its answer do not fit into the context.
        MissingExtraError: TRL is not installed.

    References:
        Shao et al., DeepSeekMath (GRPO), arXiv:2402.03300, 2024.
    """
    options, grpo = options or TrainingOptions(), grpo or GrpoOptions()
    chosen = built(strategy)
    scored = _reward(reward)
    folder = check_output(model, output)
    _check_arguments(rows, options, grpo)
    trl, datasets = extra("trl", "grpo"), extra("datasets", "grpo")
    from ._trainer import newest_checkpoint, run_trainer

    trainee = load_trainee(str(model), chosen, "written", options, write=True)
    if not isinstance(trainee.encode, PromptEncoder):
        raise InputError("rewards are for what a language model writes")
    examples = [line for row in rows for line in prompts(trainee.encode, row, grpo.max_tokens)]
    noted = {"reward": getattr(scored, "__name__", "reward"), "grpo": asdict(grpo)}
    run = identity(model, chosen, rows, (), options) | noted
    prepare(folder, run, trainee, resume=options.resume)
    checkpoints = folder / CHECKPOINTS
    trainer = trl.GRPOTrainer(
        model=trainee.model,
        reward_funcs=[scored],
        args=_arguments(trl.GRPOConfig, options, grpo, checkpoints),
        train_dataset=datasets.Dataset.from_list(examples),
        processing_class=trainee.tokenizer,
    )
    run_trainer(trainer, newest_checkpoint(checkpoints) if options.resume else None)
    history = [dict(line) for line in trainer.state.log_history]
    about = {**(about or {}), **noted, "lists": len(rows)}
    return finish(trainee, "written", chosen, options, folder, history, about)


def _check_arguments(
    rows: Sequence[TrainingList], options: TrainingOptions, grpo: GrpoOptions
) -> None:
    if not rows:
        raise InputError("there are no lists to train on")
    for name in ("objective", "patience", "neftune_alpha"):
        if getattr(options, name) is not None:
            raise InputError(f"{name} means nothing where rewards are what is learned from")
    answers = options.batch_size * options.accumulate
    if answers % grpo.generations:
        raise InputError(
            f"a step of {answers} answers (batch_size x accumulate) is no multiple of the "
            f"{grpo.generations} generations that are compared"
        )


def prompts(encode: PromptEncoder, row: TrainingList, answer: int) -> list[dict[str, Any]]:
    """The prompts about one list, as text, with what the rewards need to know of them.

    Passages are shortened, as when serving, until ``answer`` tokens fit after the prompt.
    """
    strategy, room = one_question(encode.strategy), encode.context_tokens - answer
    if room < 1:
        raise InputError(
            f"an answer of {answer} tokens leaves no room for a prompt in a context of "
            f"{encode.context_tokens}"
        )
    asked = questions(strategy, row, partial(_too_long, encode, room))
    order = shown(strategy, row)
    found = []
    for place, call in enumerate(asked):
        if not isinstance(call, Generate):
            raise InputError(
                f"{type(innermost(strategy)).__name__} writes nothing that could be rewarded",
                hint="Use Permutation, FullList, Groupwise or PointwiseGrade.",
            )
        labels = [row.labels[i] for i in order]
        best_first = sorted(range(len(labels)), key=lambda i: -labels[i])
        line: dict[str, Any] = {
            "prompt": encode.renderer.encode(call.prompt).text,
            "labels": labels,
            "order": best_first,
            "query_id": row.query_id or row.query,
        }
        if len(asked) > 1:
            teacher = row.teacher or row.labels
            line |= {"label": row.labels[place], "reference": teacher[place]}
        found.append(line)
    return found


def _too_long(encode: PromptEncoder, room: int, call: Call[Any]) -> PromptTooLongError | None:
    if not isinstance(call, Generate):
        return None
    excess = len(encode.renderer.encode(call.prompt).ids) - room
    return PromptTooLongError(excess, limit=room) if excess > 0 else None


def _reward(reward: Reward | str) -> Reward:
    if not isinstance(reward, str):
        return reward
    if reward not in REWARDS:
        raise InputError(f"there is no reward {reward!r}", hint=f"Known: {', '.join(REWARDS)}.")
    return REWARDS[reward]


def _arguments(kind: Any, options: TrainingOptions, grpo: GrpoOptions, output: Path) -> Any:
    given = {
        "output_dir": str(output),
        "num_generations": grpo.generations,
        "max_completion_length": grpo.max_tokens,
        "temperature": grpo.temperature,
        "beta": grpo.beta,
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.accumulate,
        "num_train_epochs": options.epochs,
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
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "gradient_checkpointing": options.gradient_checkpointing,  # TRL's default is on
    }
    known = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in given.items() if name in known})
