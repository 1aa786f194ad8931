"""A reranker's spec, as the command line takes it."""

import json
from pathlib import Path
from typing import Any

from .._extras import extra
from ..errors import InputError
from ..presets import load_reranker
from ..reranker import Reranker

SPECS = (".json", ".yaml", ".yml")


def named_reranker(name: str) -> Reranker:
    """The reranker of a spec file or, where the name is no such file's, of a checkpoint.

    Raises:
        InputError: The file cannot be read.
        RerankError: What is in it, or the name, leads to no reranker.
    """
    if is_spec(name):
        return Reranker.from_spec(load_spec(name))
    return load_reranker(name)


def is_spec(name: str) -> bool:
    """Whether a name is that of a spec file."""
    return Path(name).suffix in SPECS


def load_spec(path: str) -> dict[str, Any]:
    """A reranker's spec from a JSON or YAML file.

    Raises:
        InputError: The file cannot be read, or holds no mapping.
        MissingExtraError: It is YAML, and PyYAML is not installed.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the spec {path!r}: {error}") from error
    found = _yaml(text, path) if Path(path).suffix in SPECS[1:] else _json(text, path)
    if not isinstance(found, dict):
        raise InputError(f"{path!r} holds no mapping, expected strategy and backend")
    return found


def _json(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path!r} is not JSON: {error}") from error


def _yaml(text: str, path: str) -> Any:
    yaml = extra("yaml", "cli")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path!r} is not YAML: {error}") from error
