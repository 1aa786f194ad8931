"""The folder of a training run: claimed before the first step, filled after the last one."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .._files import Stamp
from ..errors import ConfigurationError, InputError
from ..evaluation.report import save, training_curve
from ..presets import RERANKER_FILE, write_saved
from ..ranking import Strategy
from ..registry import to_spec
from ._model import Trainee, base_shape, saved_backend
from ._settings import Trained, TrainingOptions
from .data import TrainingList

CHECKPOINTS = "checkpoints"
_RUN_FILE, _CURVE, _STATE = "training.json", "curve.svg", "trainer_state.json"
_LOCK = "training.lock"
_STAMP = Stamp("rerank-plugins training", 1)
_MADE = (
    *(
        RERANKER_FILE,
        _CURVE,
        "adapter_*",
        "*.safetensors",
        "*.safetensors.index.json",
        "config.json",
    ),
    *("generation_config.json", "tokenizer*", "special_tokens_map.json", "chat_template.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt"),
)
"""Patterns of the files that a finished run leaves beside its checkpoints."""
_RESERVED = 2
"""Free space, in sizes of a checkpoint, that must be there before training starts."""
_VERSIONS = ("torch", "transformers", "peft", "trl", "rerank-plugins")


def identity(
    model: str | Path,
    strategy: Strategy,
    rows: Sequence[TrainingList],
    validation: Sequence[TrainingList],
    options: TrainingOptions,
) -> dict[str, Any]:
    """The values that must be the same for a run to be resumed."""
    named = {"model": str(model), "strategy": to_spec("strategies", strategy)}
    for name, lists in (("lists", rows), ("validation", validation)):
        found = hashlib.sha256()
        for row in lists:
            found.update(repr((row.query, row.passages, row.labels, row.teacher)).encode())
        named[name] = found.hexdigest()
    plain = {k: v for k, v in options.plain().items() if k not in ("resume", "device")}
    same: dict[str, Any] = json.loads(json.dumps(named | plain))
    return same


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


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while this one trains.

    The system releases the lock of a process that was killed. File systems without locks protect
    nothing.

    Raises:
        InputError: Another run is training in the folder, or it cannot be written.
    """
    if not is_first_process():
        yield
        return
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another run is training in {str(folder)!r}",
            hint="Wait until it ends, or give another output folder.",
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        if not (folder / _RUN_FILE).exists():  # the folder was refused
            (folder / _LOCK).unlink(missing_ok=True)
        lock.release()


def prepare(folder: Path, run: Mapping[str, Any], model: Any, *, resume: bool) -> None:
    """Make the folder this run's, before the first step.

    Args:
        folder: The folder of checkpoints and of the reranker.
        run: The run's `identity`.
        model: The model to train.
        resume: Whether to continue what is there; otherwise an earlier run's files are removed.

    Raises:
        InputError: It holds another run, or a model that no run made, or cannot be written.
        ConfigurationError: There is too little space on the disk.
    """
    if not is_first_process():
        return
    try:
        _claim(folder, run, resume=resume)
    except OSError as error:
        raise _unwritable(folder, error) from error
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    needed = _RESERVED * 12 * trained  # weights and AdamW's two moments, four bytes each
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigurationError(
            f"checkpoints need {needed / 1e9:.1f} GB, and {str(folder)!r} has {free / 1e9:.1f}",
            hint="Free some space, train an adapter (lora), or give another output folder.",
        )


def is_first_process() -> bool:
    """Whether this is the one of several processes (``torchrun``) that writes files."""
    return os.environ.get("RANK", "0") == "0"


def _claim(folder: Path, run: Mapping[str, Any], *, resume: bool) -> None:
    path = folder / _RUN_FILE
    if (folder / RERANKER_FILE).is_file() or any((folder / CHECKPOINTS).glob("*")):
        held = _held(path)
        if resume:
            hint = "Give another folder, or start from scratch: resume=False, or --anew."
            if held is None:
                raise InputError(f"{str(path)!r} is damaged", hint=hint)
            if differing := ", ".join(sorted(k for k in run if held.get(k) != run[k])):
                raise InputError(
                    f"{str(folder)!r} holds a run that differs in {differing}", hint=hint
                )
            return
        # Otherwise an earlier run's weights would be read beside the new ones.
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        for made in {made for pattern in _MADE for made in folder.glob(pattern)}:
            if made.is_file():
                made.unlink()
    elif (
        any(folder.glob("*.safetensors"))
        or (folder / "config.json").is_file()
        or (path.is_file() and _held(path) is None)
    ):
        raise _foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _STAMP.write(path, run)


def _held(path: Path) -> dict[str, Any] | None:
    """The identity of the run that a folder holds; None where its file is damaged.

    Files of earlier versions name their format and no version.

    Raises:
        InputError: There is no such file, it cannot be read, or it is not a training run's.
    """
    if not path.is_file():
        raise _foreign(path.parent)
    try:
        held = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    if not isinstance(held, dict) or held.get("format") != _STAMP.format:
        raise _foreign(path.parent)
    return held


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"cannot write to {str(folder)!r}: {error}")


def _foreign(folder: Path) -> InputError:
    return InputError(
        f"{str(folder)!r} holds a model or other files that were not made by a training run",
        hint="Give another folder: this one would be overwritten.",
    )


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint; one that a full disk cut short does not count.

    The trainer writes its state last, and removes an old checkpoint only after that.
    """
    numbered = {}
    for path in checkpoints.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        if path.is_dir() and number.isdecimal():
            numbered[int(number)] = path
    for _, path in sorted(numbered.items(), reverse=True):
        state = path / _STATE
        if state.is_file() and state.read_text("utf-8").endswith("}\n"):
            return path
    return None


def is_disk_error(error: BaseException) -> bool:
    """Whether a file could not be written.

    Safetensors and PyTorch raise their own errors for it, which are not an `OSError`.
    """
    theirs = {"SafetensorError": "os error", "RuntimeError": "inline_container"}
    sign = theirs.get(type(error).__name__)
    return isinstance(error, OSError) or (sign is not None and sign in str(error))


def finish(
    trainee: Trainee,
    options: TrainingOptions,
    folder: Path,
    history: Sequence[Mapping[str, float]],
    about: Mapping[str, Any],
) -> Trained:
    """Write the weights, how to rank with them, where they come from, and the curve.

    Args:
        trainee: The trained model.
        options: How it was trained.
        folder: The folder to write to.
        history: The values that the trainer logged.
        about: Further notes for ``reranker.json``.

    Raises:
        ConfigurationError: The weights cannot be written.
    """
    validated = [line for line in history if "eval_ndcg" in line]
    losses = [line["loss"] for line in history if "loss" in line]
    done = Trained(
        folder=folder,
        steps=int(max((line.get("step", 0) for line in history), default=0)),
        loss=losses[-1] if losses else float("nan"),
        ndcg=max((line["eval_ndcg"] for line in validated if line["step"] > 0), default=None),
        ndcg_before=next((line["eval_ndcg"] for line in validated if line["step"] == 0), None),
        history=tuple(dict(line) for line in history),
    )
    if is_first_process():
        base = {"name": trainee.base, **base_shape(trainee.model)}
        result = {"steps": done.steps, "ndcg": done.ndcg}
        how = {"options": options.plain(), "versions": _versions()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            backend = saved_backend(trainee, folder, options.context_tokens)
        except Exception as error:
            if not is_disk_error(error):
                raise
            raise ConfigurationError(
                f"the weights cannot be written to {str(folder)!r}: {error}",
                hint="Free some space and run the same command again: the checkpoints are intact.",
            ) from error
        noted = {**about, "base": base, **result, **how}
        write_saved(folder, trainee.encode.strategy, backend, noted)
        if losses:
            save(training_curve(history), folder / _CURVE)
    return done


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
