"""Manifests: everything that made a file of rankings, so that it can be repeated."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_type_hints

from .._checks import fits
from .._files import Stamp
from ..errors import ConfigurationError, InputError
from ..prompts import load_prompt
from ..ranking import Usage
from ..registry import Group, to_spec
from ..reranker import Reranker

PACKAGES = ("rerank-plugins", "torch", "transformers", "sentence-transformers", "vllm", "httpx")
_STAMP = Stamp("rerank-plugins run", 1)
_SAME = ("reranker", "prompts", "settings")
"""What must not change when a file is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The origin of a file of rankings, and its cost.

    Attributes:
        reranker: The spec, with every seed; class names where there is no spec.
        prompts: A digest of every prompt that the spec names.
        settings: The format and the arguments that the file was written with.
        packages: The versions of packages when the file was started.
        python: The interpreter's version.
        queries: How many of the file's queries ``usage`` counts: all, unless the process was
            killed after it wrote a batch and before it wrote this.
        fallbacks: How many of them kept their order, in part, because something failed.
        usage: What they cost together; the seconds are wall-clock time, those of loading apart.
        finished: Whether the input was read to its end.
    """

    reranker: Mapping[str, Any]
    prompts: Mapping[str, str]
    settings: Mapping[str, Any]
    packages: Mapping[str, str]
    python: str = platform.python_version()
    queries: int = 0
    fallbacks: int = 0
    usage: Usage = field(default_factory=Usage)
    finished: bool = False

    def write(self, path: Path) -> None:
        """Write the manifest, whole or not at all.

        Raises:
            InputError: The file cannot be written.
        """
        _STAMP.write(path, asdict(self), durable=False)  # the rankings are not synced either

    def with_cost(self, queries: int, fallbacks: int, usage: Usage) -> "Manifest":
        """The manifest with the cost of more queries added."""
        return replace(
            self,
            queries=self.queries + queries,
            fallbacks=self.fallbacks + fallbacks,
            usage=self.usage + usage,
        )


def manifest_path(path: Path) -> Path:
    """The path of the manifest of a file of rankings."""
    return path.with_name(path.name + ".manifest.json")


def read_manifest(path: str | Path) -> Manifest:
    """Read the manifest of a file of rankings.

    Args:
        path: The file of rankings.

    Raises:
        InputError: There is none, or it is damaged or of another version.
    """
    beside = manifest_path(Path(path))
    if not beside.exists():
        raise InputError(f"{str(path)!r} has no manifest")
    found = _STAMP.read(beside, usage=dict)
    try:
        manifest = Manifest(**{**found, "usage": Usage(**found["usage"])})
    except TypeError as error:
        raise InputError(f"{str(beside)!r} is damaged: {error}") from error
    if wrong := [
        n for n, hint in get_type_hints(Manifest).items() if not fits(getattr(manifest, n), hint)
    ]:
        raise InputError(f"{str(beside)!r} is damaged: {wrong[0]} is of a wrong type")
    return manifest


def manifest_of(reranker: Reranker, settings: Mapping[str, Any]) -> Manifest:
    """The manifest of a new file that a reranker writes with these settings."""
    spec = {
        "strategy": _spec("strategies", reranker.strategy),
        "backend": _spec("backends", reranker.backend),
        "on_error": reranker.on_error,
        "limits": asdict(reranker.limits) if reranker.limits else None,
    }
    prompts = {name: repr(load_prompt(name)) for name in sorted(set(_prompts(spec)))}
    packages = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return Manifest(
        reranker=spec,
        prompts={
            name: f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
            for name, text in prompts.items()
        },
        settings=settings,
        packages=packages,
    )


def claim_file(path: Path, manifest: Manifest) -> Manifest:
    """Start a file of rankings, or resume it.

    Args:
        path: The file.
        manifest: The manifest that it would have if it were new.

    Returns:
        The manifest that is beside the file now.

    Raises:
        InputError: The path is a folder, a pipe or a device; the file was not written by this
            library, or with another reranker, other prompts or other settings; or a manifest cannot
            be read or written.
    """
    if path.exists() and not path.is_file():  # a device may have no end
        raise InputError(f"{str(path)!r} is a folder, a pipe or a device", hint="Give a file.")
    beside = manifest_path(path)
    if beside.exists() and path.exists():
        known = read_manifest(path)
        now = json.loads(json.dumps({name: getattr(manifest, name) for name in _SAME}))
        if changed := [name for name in _SAME if getattr(known, name) != now[name]]:
            raise InputError(
                f"{str(path)!r} was started with other {' and '.join(changed)}",
                hint="Give a new file, or use what its manifest names.",
            )
        return known
    if path.exists() and path.stat().st_size:
        raise InputError(
            f"{str(path)!r} exists and has no manifest, so it cannot be resumed",
            hint="Give a new file, or remove it.",
        )
    manifest.write(beside)
    return manifest


def _spec(group: Group, part: object) -> Any:
    try:
        return to_spec(group, part)
    except ConfigurationError:  # a class that is not registered
        return type(part).__qualname__


def _prompts(spec: object) -> Iterator[str]:
    """The names of prompts in a spec, nested ones included."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("prompt"), str):
            yield spec["prompt"]
        for item in spec.values():
            yield from _prompts(item)
    elif isinstance(spec, list | tuple):
        for item in spec:
            yield from _prompts(item)
