"""Exported weights and the files beside them, in a folder or on the hub."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from ..._extras import extra
from ...errors import ModelLoadError
from .._local.loading import first_line

Precision = Literal["auto", "fp32", "int8"]

CONFIG = "config.json"
_FP32 = ("model.onnx",)
_INT8 = ("model_int8.onnx", "model_quantized.onnx")
_INT8_ARM: tuple[str, ...] = ("model_qint8_arm64.onnx",)
# Made for one kind of processor each. The first is exact on all of them, the last only where there
# are instructions for products of eight bits: elsewhere sums of 16 bits overflow.
_INT8_X86: tuple[str, ...] = (
    "model_quint8_avx2.onnx",
    "model_qint8_avx512.onnx",
    "model_qint8_avx512_vnni.onnx",
)
_FOLDERS = ("", "onnx/")
_BESIDE = ("*.json", "*_Pooling/config.json", "merges.txt", "vocab.txt")
"""What else is read: the configurations of the model, the tokenizer and the pooling."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of an exported model.

    Args:
        name: The hub id, folder or file that was asked for.
        weights: The graph with its weights.
        folder: Where the configurations and the tokenizer are.
    """

    name: str
    weights: Path
    folder: Path

    @property
    def external(self) -> list[Path]:
        """The files beside the graph that hold tensors of it: their names start with its own."""
        graph = self.weights
        beside = (path for path in graph.parent.iterdir() if path.name.startswith(graph.name))
        return sorted(path for path in beside if path.name != graph.name)

    def values(self, file: str, *, needed: bool = False) -> dict[str, Any]:
        """The values of a JSON file beside the weights; none where it is absent.

        Args:
            file: Its name.
            needed: Whether it has to be there.

        Raises:
            ModelLoadError: It is damaged, or needed and absent.
        """
        path = self.folder / file
        if not path.is_file():
            if needed:
                raise self.missing(file)
            return {}
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelLoadError(f"{str(path)!r} is damaged: {first_line(error)}") from error
        if not isinstance(found, dict):
            raise ModelLoadError(f"{str(path)!r} is damaged: it is not a JSON object")
        return found

    def missing(self, file: str) -> ModelLoadError:
        """The error of a file that is needed and absent."""
        return ModelLoadError(
            f"{self.name!r} has exported weights and no {file}",
            hint="Copy it from the model that they were exported from.",
        )


def find_exported(
    model: str,
    precision: Precision,
    *,
    revision: str | None = None,
    token: Callable[[], str | None] = lambda: None,
) -> Exported:
    """Find exported weights, by the names that are usual on the hub.

    Of a hub id, only the files that are needed are downloaded, into the hub client's cache; without
    a connection the cache is all there is.

    Args:
        model: A folder, a file that ends in ``.onnx``, or a hub id.
        precision: ``"auto"`` takes weights of 32 bits where there are both.
        revision: The hub revision.
        token: Gives the hub's token.

    Raises:
        MissingExtraError: It is a hub id, and the hub's client is not installed.
        ModelLoadError: There are no such weights, or the hub cannot be reached.
    """
    path = Path(model)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ModelLoadError(f"there is no file {model!r}")
        return Exported(model, path, folder_of(path))
    folder = path if path.is_dir() else _downloaded(model, precision, revision, token())
    weights = (folder / name for name in _names(precision))
    if found := next((path for path in weights if path.is_file()), None):
        return Exported(model, found, folder)
    raise _not_exported(model, precision)


def folder_of(weights: Path) -> Path:
    """The folder with the configuration of exported weights: theirs, or the one above ``onnx``."""
    inside = weights.parent.name == "onnx" and not (weights.parent / CONFIG).is_file()
    return weights.parent.parent if inside else weights.parent


def _names(precision: Precision) -> list[str]:
    """The names of exported weights, the best first."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        own = _INT8_ARM
    else:
        own = _INT8_X86[::-1] if _multiplies_bytes() else _INT8_X86
    int8 = (*_INT8, *own)
    wanted = {"fp32": _FP32, "int8": int8, "auto": (*_FP32, *int8)}[precision]
    return [folder + name for name in wanted for folder in _FOLDERS]


def _multiplies_bytes() -> bool:
    """Whether this processor is known to have instructions for products of eight bits (VNNI)."""
    try:
        return "avx512_vnni" in Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return False


def _downloaded(model: str, precision: Precision, revision: str | None, token: str | None) -> Path:
    """The folder in the hub client's cache, with what is needed of a model."""
    hub = extra("huggingface_hub", "onnx")
    source: Mapping[str, Any] = {"repo_id": model, "revision": revision, "token": token}
    try:
        there = hub.HfApi().list_repo_files(**source)
    except Exception as error:
        if (cached := _cached(hub, source)) is not None:
            return cached
        raise _unreachable(model, error) from error
    weights = next((name for name in _names(precision) if name in there), None)
    if weights is None:
        raise _not_exported(model, precision)
    patterns = (*_BESIDE, weights, f"{weights}_data*", f"{weights}.data*")
    wanted = [name for name in there if any(fnmatch(name, p) for p in patterns)]
    bars: Any = hub.utils.tqdm

    class Silent(bars):  # type: ignore[misc]  # the client has no types here
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"disable": True})

    try:
        return Path(hub.snapshot_download(**source, allow_patterns=wanted, tqdm_class=Silent))
    except Exception as error:
        raise _unreachable(model, error) from error


def _cached(hub: Any, source: Mapping[str, Any]) -> Path | None:
    """The folder of a model in the hub client's cache; None if it was never downloaded."""
    try:
        return Path(hub.snapshot_download(**source, local_files_only=True))
    except Exception:  # noqa: BLE001 - what the hub itself said is the better message
        return None


def _unreachable(model: str, error: Exception) -> ModelLoadError:
    return ModelLoadError(
        f"cannot load {model!r}: {first_line(error)}",
        hint="Give a folder with exported weights, or a hub id that this machine can reach or has "
        "in its cache.",
    )


def _not_exported(model: str, precision: Precision) -> ModelLoadError:
    kind = "" if precision == "auto" else f" of precision {precision}"
    chosen = "" if precision == "auto" else f" --precision {precision}"
    return ModelLoadError(
        f"{model!r} has no exported weights{kind}, such as onnx/model.onnx",
        hint=f"Export them: `rerank-plugins export {model} FOLDER{chosen}`, which needs torch.",
    )
