"""Train a reranker: from lists to a folder that `rerank_plugins.load_reranker` opens."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError, RerankError
from ..ranking import Strategy
from ._answers import built, one_question
from ._finished import finish
from ._folder import CHECKPOINTS, check_output, identity, prepare
from ._model import Trainee, load_trainee
from ._objectives import DEFAULTS, Kind, check_objective, kind_of
from ._packing import can_pack, groups
from ._questions import questions
from ._settings import Trained, TrainingOptions
from ._validation import ndcg
from .data import TrainingList


def train(
    model: str | Path,
    strategy: Strategy | str | Mapping[str, Any],
    rows: Sequence[TrainingList],
    output: str | Path,
    *,
    validation: Sequence[TrainingList] = (),
    options: TrainingOptions | None = None,
    about: Mapping[str, Any] | None = None,
    skip_uninformative: bool = False,
    progress: bool = False,
) -> Trained:
    """Train a model for a strategy, with the prompt and the code that will serve it.

    What the strategy asks decides what is trained: `SingleToken` (FIRST) the logits of identifiers
    and, as text, the whole order; `Pointwise` the log-odds of yes; `QueryLikelihood` the likelihood
    of the query after relevant passages; `Permutation`, `FullList` and `Groupwise` the written
    answer; `PairScore` a classifier. Everything that could fail after hours is tried before the
    first step: every list is turned into tokens, and the disk must have room.

    Args:
        model: The base: a hub id, a folder or, for language models, a ``.gguf`` file.
        strategy: How the trained model will rank: a strategy, its name, or a spec.
        rows: What it learns from; each must fit into one window.
        output: A folder: checkpoints while training, then the weights, ``reranker.json`` and a
            curve. Called again after an interruption with the same arguments, it goes on.
        validation: Lists on which nDCG@10 decides which checkpoint is kept; they are ranked before
            the first step too.
        options: See `TrainingOptions`.
        about: Noted in ``reranker.json``: where the data came from, its licence.
        skip_uninformative: Leave out lists whose labels are all equal instead of refusing them.
        progress: Whether to draw a progress bar.

    Raises:
        InputError: The lists, the options or the folder do not fit together.
        ConfigurationError: The model, its tokenizer or the machine is not up to it.

    Examples:
        >>> from rerank_plugins.training import TrainingList, TrainingOptions, train
        >>> rows = [TrainingList("a flea", ("a dog", "a flea"), (0, 1))]
        >>> train("base", "single-token", rows[:0], "out")
        Traceback (most recent call last):
            ...
        rerank_plugins.errors.InputError: there are no lists to train on
    """
    options = options or TrainingOptions()
    folder = check_output(model, output)
    if options.patience is not None and not validation:
        raise InputError("patience counts validations, and there are no lists to validate on")
    kept, skipped = _informative(rows, skip=skip_uninformative)
    chosen = built(strategy)
    kind = _kind(chosen, kept)
    objective = options.objective or DEFAULTS[kind]
    check_objective(kind, objective)
    trainee = load_trainee(str(model), chosen, kind, options, write=bool(objective.lm_weight))
    _try_all(trainee, kept)
    run = identity(model, chosen, kept, validation, options)
    prepare(folder, run, trainee, resume=options.resume)
    history = _loop(trainee, kind, chosen, kept, validation, options, folder, progress)
    noted = {**(about or {}), "lists": len(kept), "objective": asdict(objective)}
    done = finish(trainee, kind, chosen, options, folder, history, noted)
    return replace(done, skipped=skipped)


def _informative(rows: Sequence[TrainingList], *, skip: bool) -> tuple[list[TrainingList], int]:
    kept = [row for row in rows if row.is_informative]
    skipped = len(rows) - len(kept)
    if skipped and not skip:
        lost = next(row for row in rows if not row.is_informative)
        raise InputError(
            f"{skipped} lists have one relevance level and teach nothing, among them that of the "
            f"query {lost.query[:60]!r}",
            hint="Leave them out: skip_uninformative=True, or --skip-uninformative.",
        )
    if not kept:
        raise InputError("there are no lists to train on")
    return kept, skipped


def _kind(strategy: Strategy, rows: Sequence[TrainingList]) -> Kind:
    return kind_of(questions(one_question(strategy), rows[0]))


def _try_all(trainee: Trainee, rows: Sequence[TrainingList]) -> None:
    """Turn every list into tokens once: what is wrong with one is told before the first step."""
    for i, row in enumerate(rows):
        try:
            trainee.encode(row)
        except RerankError as error:
            error.add_note(f"in list {i + 1} of {len(rows)}, query {row.query[:60]!r}")
            raise


def _loop(
    trainee: Trainee,
    kind: Kind,
    strategy: Strategy,
    rows: Sequence[TrainingList],
    validation: Sequence[TrainingList],
    options: TrainingOptions,
    folder: Path,
    progress: bool,
) -> list[dict[str, float]]:
    """Train, and return what was logged."""
    from ._trainer import RankingTrainer, newest_checkpoint, run_trainer

    validate = partial(ndcg, strategy, trainee.backend, validation) if validation else None
    output = folder / CHECKPOINTS
    together = options.share_prefix and kind in ("listwise", "written") and can_pack(trainee.model)
    taught = groups(rows, together=together)
    trainer = RankingTrainer(trainee, kind, options, taught, validate, output, progress=progress)
    run_trainer(trainer, newest_checkpoint(output) if options.resume else None)
    return [dict(line) for line in trainer.state.log_history]
