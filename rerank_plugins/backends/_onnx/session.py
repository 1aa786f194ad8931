"""A graph that onnxruntime runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..._extras import extra
from ..._threads import renewed_by_forks
from ...errors import ConfigurationError, ModelLoadError
from .._local.loading import first_line
from .files import Exported
from .tokens import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]

Device = Literal["auto", "cpu", "cuda"]
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY = 3
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_left: list[Any] = []
"""Sessions of the process that this one was forked from: to free them would wait for ever for
threads that do not exist here."""


class Session:
    """Exported weights, loaded. A forked process loads its own when it first runs.

    Args:
        files: The model's files.
        device: ``"auto"`` takes CUDA where this onnxruntime has it.
        threads: Threads of one pass; ``OMP_NUM_THREADS`` or onnxruntime's own choice when None.
        padding: The token that fills up the shorter rows of a batch.

    Raises:
        MissingExtraError: onnxruntime or numpy is not installed.
        ConfigurationError: There is no such device.
        ModelLoadError: The file is damaged, or asks for what this onnxruntime does not have.
    """

    def __init__(self, files: Exported, device: Device, threads: int | None, padding: int) -> None:
        self._path, self._name = files.weights, files.name
        self._padding = padding
        self._device, self._threads = device, threads
        self._loaded: Any = self._load()
        self.on_cpu = self._loaded.get_providers()[0] == _CPU
        given = {found.name: found for found in self._loaded.get_inputs()}
        if unknown := sorted(set(given) - set(INPUTS)):
            raise self._refused(f"it wants {', '.join(unknown)}")
        if fixed := [i.name for i in given.values() if any(isinstance(n, int) for n in i.shape)]:
            raise self._refused(f"its input {fixed[0]} has the fixed shape {given[fixed[0]].shape}")
        self._types = {name: found.type for name, found in given.items()}
        renewed_by_forks(self)

    @property
    def outputs(self) -> Mapping[str, Sequence[int | str | None]]:
        """The names of the outputs and their shapes; a size that varies is a name or None."""
        return {found.name: found.shape for found in self._ready().get_outputs()}

    def run(self, rows: Sequence[Row], output: str) -> "Floats":
        """Compute an output for rows that run together, padded to the longest of them.

        Returns:
            Float32 of the output's shape; what belongs to padding is arbitrary.
        """
        import numpy as np

        longest = max(len(row.ids) for row in rows)
        ids = np.full((len(rows), longest), self._padding)
        seen, types = np.zeros_like(ids), np.zeros_like(ids)
        for i, row in enumerate(rows):
            tokens = len(row.ids)
            ids[i, :tokens], seen[i, :tokens], types[i, :tokens] = row.ids, 1, row.types
        values = dict(zip(INPUTS, (ids, seen, types), strict=True))
        kinds = {"tensor(int32)": np.int32}
        feed = {
            name: values[name].astype(kinds.get(k, np.int64)) for name, k in self._types.items()
        }
        [found] = self._ready().run([output], feed)
        return np.asarray(found, dtype=np.float32)

    def _ready(self) -> Any:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Any:
        library = extra("onnxruntime", "onnx")
        extra("numpy", "onnx")
        there = library.get_available_providers()
        if self._device == "cuda" and _CUDA not in there:
            raise ConfigurationError(
                "this onnxruntime has no CUDA",
                hint="Install onnxruntime-gpu in its place, or give device='cpu'.",
            )
        wanted = [_CPU] if self._device == "cpu" else [p for p in (_CUDA, _CPU) if p in there]
        options = library.SessionOptions()
        options.intra_op_num_threads = self._threads or _stated_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.enable_mem_pattern = False  # it keeps a plan for every shape that comes by
        try:
            found = library.InferenceSession(str(self._path), options, providers=wanted)
        except Exception as error:
            raise self._refused(first_line(error)) from error
        if self._device == "cuda" and found.get_providers()[0] != _CUDA:
            raise ConfigurationError("onnxruntime cannot use CUDA here", hint="Try device='cpu'.")
        return found

    def _refused(self, reason: str) -> ModelLoadError:
        version = extra("onnxruntime", "onnx").__version__
        return ModelLoadError(
            f"onnxruntime {version} cannot run {str(Path(self._path))!r}: {reason}",
            hint="Export it again with `rerank-plugins export`, or install a newer onnxruntime.",
        )

    def _at_fork_reinit(self) -> None:
        _left.append(self._loaded)
        self._loaded = None


def _stated_threads() -> int:
    """The threads that the environment asks for; 0 for onnxruntime's own choice."""
    stated = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(stated) if stated.isdecimal() else 0
