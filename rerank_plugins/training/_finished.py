"""The end of a training run: the folder that `rerank_plugins.load_reranker` opens."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..evaluation.report import save, training_curve
from ..presets import write_saved
from ..ranking import Strategy
from ._folder import CURVE, is_disk_error, is_first_process
from ._model import Trainee, base_shape, saved_backend
from ._objectives import Kind
from ._settings import Trained, TrainingOptions

_VERSIONS = ("torch", "transformers", "peft", "trl", "rerank-plugins")


def finish(
    trainee: Trainee,
    kind: Kind,
    strategy: Strategy,
    options: TrainingOptions,
    folder: Path,
    history: Sequence[Mapping[str, float]],
    about: Mapping[str, Any],
) -> Trained:
    """Write the weights, how to rank with them, where they come from, and the curve.

    Args:
        trainee: What was trained.
        kind: How it ranks.
        strategy: Its strategy.
        options: How it was trained.
        folder: Where to.
        history: What the trainer logged.
        about: What else is noted in ``reranker.json``.

    Raises:
        ConfigurationError: The weights cannot be written.
    """
    validated = [line for line in history if "eval_ndcg" in line]
    best = max((line["eval_ndcg"] for line in validated if line["step"] > 0), default=None)
    losses = [line["loss"] for line in history if "loss" in line]
    steps = int(max((line.get("step", 0) for line in history), default=0))
    noted = {
        **about,
        "base": {"name": trainee.base, **base_shape(trainee.model)},
        "steps": steps,
        "ndcg": best,
        "options": options.plain(),
        "versions": _versions(),
    }
    if is_first_process():
        _write(trainee, kind, strategy, options, folder, noted)
        if losses:
            save(training_curve(history), folder / CURVE)
    return Trained(
        folder=folder,
        steps=steps,
        loss=losses[-1] if losses else float("nan"),
        ndcg=best,
        ndcg_before=next((line["eval_ndcg"] for line in validated if line["step"] == 0), None),
        history=tuple(dict(line) for line in history),
    )


def _write(
    trainee: Trainee,
    kind: Kind,
    strategy: Strategy,
    options: TrainingOptions,
    folder: Path,
    noted: Mapping[str, Any],
) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        backend = saved_backend(trainee, folder, kind, options.context_tokens)
    except Exception as error:
        if not is_disk_error(error):
            raise
        raise ConfigurationError(
            f"the weights cannot be written to {str(folder)!r}: {error}",
            hint="Free some space and run the same command again: the checkpoints are intact.",
        ) from error
    write_saved(folder, strategy, backend, noted)


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
