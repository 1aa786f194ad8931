"""Folders of trained rerankers: the weights, and a file that says how to rank with them.

``reranker.json`` holds the specs of the strategy, its whole prompt included, and of the backend,
with ``"."`` for the folder itself. It is data: only this library's own strategies and local
backends are built from it, and no plugin is loaded.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelLoadError
from ..prompts import list_prompts
from ..ranking import Strategy
from ..registry import is_built_in, to_spec

FILE = "reranker.json"
_FORMAT = "rerank-plugins reranker"
_VERSION = 1
_BACKENDS = ("transformers", "cross-encoder", "seq2seq")
_PATHS = ("model", "adapter")
_OPTIONS = ("name", *_PATHS, "context_tokens", "max_tokens")
"""What such a file may say of a backend: where its weights are, and how much it reads."""
HERE = "."


def write_saved(
    folder: Path, strategy: Strategy, backend: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Write ``reranker.json``, in one step.

    Args:
        folder: Where the weights are.
        strategy: How to rank with them.
        backend: The backend's spec; ``"."`` is the folder.
        about: Where the weights come from: data, options, figures.

    Raises:
        ConfigurationError: The strategy has no spec.
        InputError: The folder cannot be written.
    """
    spec = {
        "format": _FORMAT,
        "version": _VERSION,
        "strategy": to_spec("strategies", strategy),
        "backend": dict(backend),
        "about": dict(about),
    }
    scratch = folder / f"{FILE}.new"
    try:
        scratch.write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", "utf-8")
        os.replace(scratch, folder / FILE)
    except OSError as error:
        raise InputError(f"cannot write {str(folder / FILE)!r}: {error}") from error


def is_saved(model: str | Path) -> bool:
    """Whether a folder holds a trained reranker."""
    return (Path(model) / FILE).is_file()


def saved_parts(folder: str | Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The specs of the strategy and the backend of a trained reranker.

    Raises:
        ModelLoadError: The file is damaged, of a later version, or asks for something that is not
            loaded from a file.
    """
    path = Path(folder) / FILE
    try:
        spec = json.loads(path.read_text("utf-8"))
        strategy, backend = spec["strategy"], dict(spec["backend"])
        known = spec["format"] == _FORMAT and spec["version"] == _VERSION
        paths = [backend.get(name, HERE) for name in _PATHS]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelLoadError(f"cannot read {str(path)!r}: {error!r}") from error
    if not known:
        raise ModelLoadError(
            f"{str(path)!r} is of another version", hint="Update rerank-plugins, or train again."
        )
    if backend.get("name") not in _BACKENDS or not is_built_in("strategies", strategy):
        raise ModelLoadError(
            f"{str(path)!r} names a plugin or a server", hint="Only this library's own are built."
        )
    if not all(isinstance(name, str) for name in paths) or not _own_prompts(strategy):
        raise ModelLoadError(
            f"{str(path)!r} names a file of prompts, or a model that is no name",
            hint="A trained reranker holds its prompt, or names one that ships with the library.",
        )
    if unknown := sorted(set(backend) - set(_OPTIONS)):
        raise ModelLoadError(
            f"{str(path)!r} sets {', '.join(unknown)}",
            hint="A file says where weights are; give other options to load_reranker.",
        )
    here = {name: str(folder) for name in _PATHS if backend.get(name) == HERE}
    return strategy, backend | here


def _own_prompts(spec: object) -> bool:
    """Whether every prompt that is only named is one of the library's, and no other file."""
    if isinstance(spec, Mapping):
        named = spec.get("prompt")
        known = not isinstance(named, str) or named in list_prompts()
        return known and all(map(_own_prompts, spec.values()))
    return not isinstance(spec, list) or all(map(_own_prompts, spec))
