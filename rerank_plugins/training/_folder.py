"""The folder of a training run: whose it is, whether there is room, and what a full disk says."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, InputError
from ..presets import FILE as RERANKER
from ..ranking import Strategy
from ..registry import to_spec
from ._model import Trainee
from ._settings import TrainingOptions
from .data import TrainingList

RUN_FILE = "training.json"
CHECKPOINTS = "checkpoints"
CURVE = "curve.svg"
_FORMAT = "rerank-plugins training"
_MADE = (
    *(RERANKER, CURVE, "adapter_*", "*.safetensors", "*.safetensors.index.json", "config.json"),
    *("generation_config.json", "tokenizer*", "special_tokens_map.json", "chat_template.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt"),
)
"""What a finished run leaves beside its checkpoints, as patterns."""
_RESERVED = 2
"""Free space, in sizes of a checkpoint, that must be there before training begins."""


def identity(
    model: str | Path,
    strategy: Strategy,
    rows: Sequence[TrainingList],
    validation: Sequence[TrainingList],
    options: TrainingOptions,
) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    plain = {k: v for k, v in options.plain().items() if k not in ("resume", "device")}
    spec = to_spec("strategies", strategy)
    lists = {"lists": _digest(rows), "validation": _digest(validation)}
    same: dict[str, Any] = json.loads(
        json.dumps({"model": str(model), "strategy": spec, **lists, **plain})
    )
    return same


def _digest(rows: Sequence[TrainingList]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr((row.query, row.passages, row.labels, row.teacher)).encode())
    return digest.hexdigest()


def prepare(folder: Path, run: Mapping[str, Any], trainee: Trainee, *, resume: bool) -> None:
    """Make the folder this run's, before the first step.

    Args:
        folder: Where checkpoints and the reranker go.
        run: Its `identity`.
        trainee: What is trained.
        resume: Whether to go on with what is there; otherwise an earlier run's files are removed.

    Raises:
        InputError: It holds another run, or a model that no run made, or cannot be written.
        ConfigurationError: There is too little space on the disk.
    """
    if is_first_process():
        _claim(folder, run, resume=resume)
        _check_space(trainee, folder)


def is_first_process() -> bool:
    """Whether this is the one of several processes (``torchrun``) that writes files."""
    return os.environ.get("RANK", "0") == "0"


def check_output(model: str | Path, output: str | Path) -> Path:
    """Refuse an output folder that cannot be one.

    Raises:
        InputError: It has no name, or is the base's.
    """
    if not str(output):
        raise InputError("the output folder has no name")
    folder = Path(output)
    if Path(model).exists() and Path(model).resolve() == folder.resolve():
        raise InputError(
            "the output folder is that of the base, whose weights would be overwritten"
        )
    return folder


def _claim(folder: Path, run: Mapping[str, Any], *, resume: bool) -> None:
    path = folder / RUN_FILE
    try:
        if _begun(folder):
            held = _held(path)
            if resume:
                _check_same(held, run, folder)
                return
            _clear(folder)
        elif _has_model(folder) or (path.is_file() and _held(path) is None):
            raise _foreign(folder)
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f"{RUN_FILE}.new"
        scratch.write_text(json.dumps({"format": _FORMAT, **run}, indent=1) + "\n", "utf-8")
        os.replace(scratch, path)
    except OSError as error:
        raise InputError(f"cannot write to {str(folder)!r}: {error}") from error


def _begun(folder: Path) -> bool:
    """Whether something is there that a run leaves, beside its name."""
    return (folder / RERANKER).is_file() or any((folder / CHECKPOINTS).glob("*"))


def _has_model(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or (folder / "config.json").is_file()


def _held(path: Path) -> dict[str, Any] | None:
    """The identity of the run that a folder holds; None where its file is damaged.

    Raises:
        InputError: There is none, or it is not a training run's.
    """
    if not path.is_file():
        raise _foreign(path.parent)
    try:
        held = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    if not isinstance(held, dict) or held.get("format") != _FORMAT:
        raise _foreign(path.parent)
    return held


def _foreign(folder: Path) -> InputError:
    return InputError(
        f"{str(folder)!r} holds a model or other files that were not made by a training run",
        hint="Give another folder: this one would be overwritten.",
    )


def _check_same(held: Mapping[str, Any] | None, run: Mapping[str, Any], folder: Path) -> None:
    anew = "Give another folder, or begin anew: resume=False, or --anew."
    if held is None:
        raise InputError(f"{str(folder / RUN_FILE)!r} is damaged", hint=anew)
    if differing := sorted(k for k in run if held.get(k) != run[k]):
        raise InputError(
            f"{str(folder)!r} holds a run that differs in {', '.join(differing)}", hint=anew
        )


def _clear(folder: Path) -> None:
    """Remove what an earlier run made: its weights would be read beside the new ones."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    for pattern in _MADE:
        for path in folder.glob(pattern):
            if path.is_file():
                path.unlink()


def _check_space(trainee: Trainee, folder: Path) -> None:
    """Refuse to begin where not even two checkpoints fit on the disk."""
    trained = sum(p.numel() for p in trainee.model.parameters() if p.requires_grad)
    needed = _RESERVED * 12 * trained  # weights and AdamW's two moments, four bytes each
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigurationError(
            f"checkpoints need {needed / 1e9:.1f} GB, and {str(folder)!r} has {free / 1e9:.1f}",
            hint="Free some space, train an adapter (lora), or give another output folder.",
        )


def is_disk_error(error: BaseException) -> bool:
    """Whether a file could not be written.

    Safetensors and PyTorch tell it by errors of their own, which are no `OSError`.
    """
    theirs = {"SafetensorError": "os error", "RuntimeError": "inline_container"}
    sign = theirs.get(type(error).__name__)
    return isinstance(error, OSError) or (sign is not None and sign in str(error))
