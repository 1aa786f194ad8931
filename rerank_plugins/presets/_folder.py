"""Folders of trained rerankers: weights, and ``reranker.json``, which says how to rank with them.

The file holds the spec of the strategy, with its whole prompt, and the spec of the backend, with
``"."`` for the folder itself. It is data: only this library's own strategies and local backends
are built from it, and no plugin is loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._checks import some_of
from .._files import Stamp
from ..errors import InputError, ModelLoadError
from ..prompts import list_prompts
from ..ranking import Strategy
from ..registry import is_built_in, to_spec

RERANKER_FILE = "reranker.json"
"""The file in the folder of a trained reranker."""

THIS_FOLDER = "."
"""The folder itself, as the file names it."""

_STAMP = Stamp("rerank-plugins reranker", 1)
_BACKENDS = ("transformers", "cross-encoder", "seq2seq", "onnx-cross-encoder", "late-interaction")
_TEMPLATES = ("query_template", "passage_template")
_PATHS = ("model", "adapter")
_OPTIONS = ("name", *_PATHS, "context_tokens", "max_tokens", *_TEMPLATES)
"""What such a file may say of a backend: where its weights are, and how it reads."""


def write_saved(
    folder: Path, strategy: Strategy, backend: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Write ``reranker.json``, whole or not at all.

    Args:
        folder: The folder with the weights.
        strategy: The strategy that ranks with them.
        backend: The backend's spec; ``"."`` is the folder.
        about: Where the weights come from: data, options, figures.

    Raises:
        ConfigurationError: The strategy has no spec.
        InputError: The folder cannot be written.
    """
    spec = to_spec("strategies", strategy)
    _STAMP.write(
        folder / RERANKER_FILE, {"strategy": spec, "backend": dict(backend), "about": dict(about)}
    )


def is_saved(model: str | Path) -> bool:
    """Whether a folder holds a trained reranker."""
    return (Path(model) / RERANKER_FILE).is_file()


def saved_parts(folder: str | Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The specs of the strategy and the backend of a trained reranker.

    Raises:
        ModelLoadError: The file is missing, damaged or of another version, or asks for something
            that is not loaded from a file.
    """
    path = Path(folder) / RERANKER_FILE
    try:
        spec = _STAMP.read(path, backend=dict)
    except InputError as error:
        raise ModelLoadError(str(error)) from error
    strategy: Any = spec.get("strategy")
    backend: dict[str, Any] = spec["backend"]
    if backend.get("name") not in _BACKENDS or not is_built_in("strategies", strategy):
        raise ModelLoadError(
            f"{str(path)!r} names a plugin or a server",
            hint="Only this library's own strategies and local backends are loaded from a file.",
        )
    texts = [backend.get(name, THIS_FOLDER) for name in (*_PATHS, *_TEMPLATES)]
    if not all(isinstance(text, str) for text in texts) or not _own_prompts(strategy):
        raise ModelLoadError(
            f"{str(path)!r} names a file of prompts, or a model that is not a string",
            hint="A trained reranker holds its prompt, or names one that ships with the library.",
        )
    if unknown := sorted(set(backend) - set(_OPTIONS)):
        raise ModelLoadError(
            f"{str(path)!r} sets {some_of(unknown)}",
            hint="A file says where the weights are; give other options to load_reranker.",
        )
    here = {name: str(folder) for name in _PATHS if backend.get(name) == THIS_FOLDER}
    return strategy, backend | here


def _own_prompts(spec: object) -> bool:
    """Whether every prompt that a spec names ships with the library, and is not another file."""
    if isinstance(spec, Mapping):
        named = spec.get("prompt")
        known = not isinstance(named, str) or named in list_prompts()
        return known and all(map(_own_prompts, spec.values()))
    return not isinstance(spec, list) or all(map(_own_prompts, spec))
