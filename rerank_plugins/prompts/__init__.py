"""Prompts as versioned data: one TOML file for each, validated when it is loaded.

A prompt that a public checkpoint was trained with is an interface: changing one character is a
breaking change and gets a new version. Rendering is pure and keeps queries and passages in
`Untrusted` parts.
"""

import tomllib
from dataclasses import MISSING, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_origin, get_type_hints

from .._checks import fits, nearest_of, some_of
from ..errors import ConfigurationError, InputError, UnknownNameError
from ._embedding import EmbeddingPrompt
from ._kinds import LikelihoodPrompt, ListwisePrompt, PointwisePrompt
from ._templates import PassageForm, Rendered, chat, fill

__all__ = [
    "AnyPrompt",
    "EmbeddingPrompt",
    "LikelihoodPrompt",
    "ListwisePrompt",
    "PassageForm",
    "PointwisePrompt",
    "Rendered",
    "chat",
    "fill",
    "list_prompts",
    "load_prompt",
    "require",
]

AnyPrompt: TypeAlias = ListwisePrompt | PointwisePrompt | LikelihoodPrompt | EmbeddingPrompt
"""A prompt of any kind."""

_KINDS: dict[str, type[AnyPrompt]] = {
    cls.kind: cls for cls in (ListwisePrompt, PointwisePrompt, LikelihoodPrompt, EmbeddingPrompt)
}

P = TypeVar("P", bound=AnyPrompt)


def load_prompt(name: str) -> AnyPrompt:
    """Load a prompt by its versioned name, or from your own TOML file.

    Args:
        name: A name from `list_prompts`, or a path that ends in ``.toml``: a file with
            ``kind = "listwise"``, ``"pointwise"``, ``"likelihood"`` or ``"embedding"`` and the
            fields of that class as keys.

    Raises:
        UnknownNameError: There is no prompt of that name, or the file cannot be read.
        ConfigurationError: The file is not a valid prompt.

    Examples:
        >>> load_prompt("first.v1").checkpoints
        ('rryisthebest/First_Model',)
    """
    if name.endswith(".toml"):
        try:
            return _parse(Path(name).read_text(encoding="utf-8"), name)
        except OSError as error:
            raise UnknownNameError(f"cannot read the prompt {name!r}: {error}") from error
    if name not in list_prompts():
        raise UnknownNameError(
            f"there is no prompt {name!r}", hint=nearest_of(name, list_prompts())
        )
    return _built_in(name)


@lru_cache
def list_prompts() -> tuple[str, ...]:
    """The names of the prompts that ship with the library."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def require(prompt: str | Path | P, expected: type[P]) -> P:
    """The prompt itself, or the one of that name, if it is of the kind a strategy needs.

    Raises:
        ConfigurationError: It is of another kind.
        UnknownNameError: There is no prompt of that name.
    """
    found = load_prompt(str(prompt)) if isinstance(prompt, str | Path) else prompt
    if not isinstance(found, expected):
        raise ConfigurationError(f"{prompt!r} is not a {expected.kind} prompt")
    return found


@lru_cache
def _built_in(name: str) -> AnyPrompt:
    source = resources.files(__name__).joinpath(f"{name}.toml")
    return _parse(source.read_text(encoding="utf-8"), name)


def _parse(source: str, name: str) -> AnyPrompt:
    try:
        values: dict[str, Any] = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the prompt {name!r} is not valid TOML: {error}") from error
    cls = _KINDS.get(values.pop("kind", ""))
    if cls is None:
        raise ConfigurationError(f"the prompt {name!r} needs kind = one of {sorted(_KINDS)}")
    known = {f.name: f for f in fields(cls)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigurationError(
            f"the prompt {name!r} has no key {some_of(unknown)}",
            hint=nearest_of(unknown[0], list(known), "It has"),
        )
    needed = [key for key, f in known.items() if f.default is f.default_factory is MISSING]
    if missing := [key for key in needed if key not in values]:
        raise ConfigurationError(f"the prompt {name!r} needs values for {some_of(missing)}")
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    hints = get_type_hints(cls)
    for key, value in given.items():
        if get_origin(hints[key]) is not Literal and not fits(value, hints[key]):
            raise ConfigurationError(f"the prompt {name!r} has {value!r:.80} as {key}")
    try:
        return cls(**given)
    except InputError as error:
        raise ConfigurationError(f"the prompt {name!r} is wrong: {error}") from error
