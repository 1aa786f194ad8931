"""Training with rewards: GRPO through TRL, for answers that no label writes out (reasoning)."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .._checks import at_least, one_of, positive
from .._extras import extra
from ..calls import Call, Generate
from ..errors import InputError, PromptTooLongError
from ..ranking import Strategy
from ._encoding import PromptEncoder, shown_order
from ._folder import CHECKPOINTS, alone, check_output, finish, identity, prepare
from ._model import load_trainee
from ._questions import innermost, questions, strategy_of
from ._settings import Trained, TrainingOptions
from ._trainer import common_arguments, run_trainer
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
    """Options of GRPO beside `TrainingOptions`.

    Args:
        generations: Answers to each prompt, at least 2; they are compared with each other.
        max_tokens: The most tokens of an answer.
        temperature: The temperature of sampling, above 0.
        beta: The weight of the KL divergence from the untrained model.

    Raises:
        InputError: A number is out of range.
    """

    generations: int = 8
    max_tokens: int = 1024
    temperature: float = 1.0
    beta: float = 0.001

    def __post_init__(self) -> None:
        at_least(2, generations=self.generations)
        at_least(1, max_tokens=self.max_tokens)
        positive(temperature=self.temperature)


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
        strategy: How it will rank; the model writes the answer.
        rows: The training lists.
        reward: A name (``"grouprank"``, ``"reasonrank"``, ``"erank"``), or a function of the same
            signature.
        output: As for `rerank_plugins.training.train`: an interrupted run is resumed.
        options: Learning rate, steps, adapter, seed, context; ``batch_size`` times ``accumulate``
            answers make an optimiser step, and must be a multiple of ``grpo.generations``. Options
            of labels and validation (``objective``, ``patience``, ``neftune_alpha``,
            ``late_interaction``) must be left out.
        grpo: See `GrpoOptions`.
        about: Notes for ``reranker.json``.

    Returns:
        The folder, the steps and the last loss.

    Raises:
        InputError: The strategy's model writes nothing, the reward is not known, an option has no
            effect here, or the folder holds another run or is in use by one.
        PromptTooLongError: A prompt and its answer do not fit into the context.
        MissingExtraError: TRL is not installed.

    References:
        Shao et al., DeepSeekMath (GRPO), arXiv:2402.03300, 2024.
    """
    options, grpo = options or TrainingOptions(), grpo or GrpoOptions()
    chosen = strategy_of(strategy)
    if isinstance(reward, str):
        one_of("reward", reward, REWARDS)
        reward = REWARDS[reward]
    folder = check_output(model, output)
    _check_arguments(rows, options, grpo)
    trl, datasets = extra("trl", "grpo"), extra("datasets", "grpo")
    trainee = load_trainee(str(model), chosen, "written", options, write=True)
    if not isinstance(trainee.encode, PromptEncoder):
        raise InputError("rewards are for what a language model writes")
    examples = [line for row in rows for line in prompts(trainee.encode, row, grpo.max_tokens)]
    noted = {"reward": getattr(reward, "__name__", "reward"), "grpo": asdict(grpo)}
    run = identity(model, chosen, rows, (), options) | noted
    with alone(folder):
        prepare(folder, run, trainee.model, resume=options.resume)
        trainer = trl.GRPOTrainer(
            model=trainee.model,
            reward_funcs=[reward],
            args=_arguments(trl.GRPOConfig, options, grpo, folder / CHECKPOINTS),
            train_dataset=datasets.Dataset.from_list(examples),
            processing_class=trainee.tokenizer,
        )
        history = run_trainer(trainer, resume=options.resume)
        return finish(
            trainee, options, folder, history, {**(about or {}), **noted, "lists": len(rows)}
        )


def _check_arguments(
    rows: Sequence[TrainingList], options: TrainingOptions, grpo: GrpoOptions
) -> None:
    if not rows:
        raise InputError("there are no lists to train on")
    for name in ("objective", "patience", "neftune_alpha", "late_interaction"):
        if getattr(options, name) not in (None, False):
            raise InputError(f"{name} has no effect where the model learns from rewards")
    answers = options.batch_size * options.accumulate
    if answers % grpo.generations:
        raise InputError(
            f"a step has {answers} answers (batch_size x accumulate), expected a multiple of the "
            f"{grpo.generations} generations that are compared"
        )


def prompts(encode: PromptEncoder, row: TrainingList, answer: int) -> list[dict[str, Any]]:
    """The prompts about one list, as text, with what the rewards need to know of them.

    Passages are shortened, as when serving, until ``answer`` tokens fit after the prompt.

    Raises:
        InputError: The answer leaves no room for a prompt, or the strategy's model writes nothing.
        PromptTooLongError: The list does not fit, even with one word of each passage.
    """
    room = encode.context_tokens - answer
    if room < 1:
        raise InputError(
            f"an answer of {answer} tokens leaves no room for a prompt in a context of "
            f"{encode.context_tokens}"
        )

    def fits(call: Call[Any]) -> PromptTooLongError | None:
        if not isinstance(call, Generate):
            return None
        excess = len(encode.renderer.encode(call.prompt).ids) - room
        return PromptTooLongError(excess, limit=room) if excess > 0 else None

    asked = questions(encode.strategy, row, fits)
    labels = [row.labels[i] for i in shown_order(encode.strategy, len(row))]
    common = {
        "labels": labels,
        "order": sorted(range(len(labels)), key=lambda i: -labels[i]),
        "query_id": row.query_id or row.query,
    }
    found = []
    for place, call in enumerate(asked):
        if not isinstance(call, Generate):
            name = type(innermost(encode.strategy)).__name__
            raise InputError(
                f"{name} writes nothing that could be rewarded",
                hint="Use Permutation, FullList, Groupwise or PointwiseGrade.",
            )
        line = {"prompt": encode.renderer.encode(call.prompt).text, **common}
        if len(asked) > 1:
            teacher = row.teacher or row.labels
            line |= {"label": row.labels[place], "reference": teacher[place]}
        found.append(line)
    return found


def _arguments(kind: Any, options: TrainingOptions, grpo: GrpoOptions, output: Path) -> Any:
    given = {
        **common_arguments(options, output),
        "num_generations": grpo.generations,
        "max_completion_length": grpo.max_tokens,
        "temperature": grpo.temperature,
        "beta": grpo.beta,
        "num_train_epochs": options.epochs,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "gradient_checkpointing": options.gradient_checkpointing,  # TRL's default is on
    }
    known = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in given.items() if name in known})
