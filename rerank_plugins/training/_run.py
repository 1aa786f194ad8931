"""Train a reranker: from lists to a folder that `rerank_plugins.load_reranker` opens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ..backends._local.loading import chosen_device
from ..errors import InputError, RerankError
from ..ranking import Strategy
from ._batches import can_pack, group_lists, mostly_shared
from ._folder import CHECKPOINTS, alone, check_output, finish, identity, prepare
from ._model import load_trainee
from ._objectives import DEFAULTS, check_objective, kind_of
from ._questions import questions, strategy_of
from ._settings import Trained, TrainingOptions
from ._trainer import RankingTrainer, run_trainer, workers
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

    The strategy's questions decide what is trained: `SingleToken` (FIRST) the logits of identifiers
    and, as text, the whole order; `Pointwise` the log-odds of yes; `QueryLikelihood` the likelihood
    of the query after relevant passages; `Permutation`, `FullList` and `Groupwise` the written
    answer; `PairScore` a classifier, or an encoder for late interaction. Everything that could fail
    after hours is tried before the first step: every list is turned into tokens, and the disk must
    have room.

    Args:
        model: The base: a hub id, a folder or, for language models, a ``.gguf`` file.
        strategy: How the trained model will rank: a strategy, its name, or a spec.
        rows: The training lists; each must fit into one window.
        output: A folder: checkpoints while training, then the weights, ``reranker.json`` and a
            curve. Called again with the same arguments, an interrupted run is resumed.
        validation: Lists on which nDCG@10 decides which checkpoint is kept; they are ranked before
            the first step too.
        options: See `TrainingOptions`.
        about: Notes for ``reranker.json``: where the data came from, its licence.
        skip_uninformative: Leave out lists whose labels are all equal instead of refusing them.
        progress: Whether to draw a progress bar.

    Returns:
        The folder, the steps, the last loss and the best nDCG@10.

    Raises:
        InputError: The lists, the options or the folder do not fit together, or another
            run is training in the folder.
        ConfigurationError: The model, its tokenizer or the machine cannot do what is asked.

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
    kept = _informative(rows, skip=skip_uninformative)
    chosen = strategy_of(strategy)
    asked = questions(chosen, kept[0])
    kind = kind_of(asked, late_interaction=options.late_interaction)
    objective = options.objective or DEFAULTS[kind]
    check_objective(kind, objective)
    trainee = load_trainee(str(model), chosen, kind, options, write=bool(objective.lm_weight))
    _check(kept, trainee.encode, workers(chosen_device(options.device)))
    run = identity(model, chosen, kept, validation, options)
    with alone(folder):
        prepare(folder, run, trainee.model, resume=options.resume)
        together = (
            options.share_prefix and kind in ("listwise", "written") and can_pack(trainee.model)
        )
        groups = group_lists(kept, together=together)
        if (several := next((group for group in groups if len(group) > 1), None)) is not None:
            begun = [row for one in several for row in trainee.encode(one).rows]
            if not mostly_shared(begun):  # the prompt has the query before the passages
                groups = group_lists(kept, together=False)
        checkpoints = folder / CHECKPOINTS
        trainer = RankingTrainer(
            trainee, options, groups, validation, checkpoints, progress=progress
        )
        history = run_trainer(trainer, resume=options.resume)
        noted = {**(about or {}), "lists": len(kept), "objective": asdict(objective)}
        done = finish(trainee, options, folder, history, noted)
    return replace(done, skipped=len(rows) - len(kept))


def _check(
    rows: Sequence[TrainingList], encode: Callable[[TrainingList], object], processes: int
) -> None:
    """Turn every list into tokens, in processes where a GPU waits.

    Raises:
        RerankError: That of the first list that does not fit, with its number.
    """
    tried = DataLoader(_Tried(rows, encode), batch_size=64, num_workers=processes, collate_fn=list)
    for number, error in enumerate(chain.from_iterable(tried), start=1):
        if error is not None:
            query = rows[number - 1].query
            error.add_note(f"in list {number} of {len(rows)}, query {query[:60]!r}")
            raise error


@dataclass(frozen=True)
class _Tried(Dataset[RerankError | None]):
    """The error of each list, or None."""

    rows: Sequence[TrainingList]
    encode: Callable[[TrainingList], object]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> RerankError | None:
        try:
            self.encode(self.rows[i])
        except RerankError as error:
            return error
        return None


def _informative(rows: Sequence[TrainingList], *, skip: bool) -> list[TrainingList]:
    """The lists with more than one relevance level; others are left out or refused."""
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
    return kept
