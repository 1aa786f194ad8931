"""What made a file of rankings, so that it can be repeated: written beside it."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, InputError
from ..prompts import load_prompt
from ..ranking import Usage
from ..registry import Group, to_spec
from ..reranker import Reranker

FORMAT = "rerank-plugins run"
VERSION = 1
PACKAGES = ("rerank-plugins", "torch", "transformers", "sentence-transformers", "vllm", "httpx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A file of rankings: what made it, and what it cost.

    Attributes:
        reranker: The spec, with every seed; the class names where there is none.
        prompts: A digest of every prompt that the spec names.
        settings: How the file was written.
        packages: Versions at the beginning.
        python: The interpreter's version.
        queries: How many of the file's queries ``usage`` counts: all, unless the process was
            killed between a batch and its mention here.
        fallbacks: How many of them kept their order, in part, because something failed.
        usage: What they cost together; the seconds are those of the clock.
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
        """Replace the file in one step."""
        draft = path.with_name(path.name + ".draft")
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        draft.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
        draft.replace(path)

    def with_cost(self, queries: int, fallbacks: int, usage: Usage) -> "Manifest":
        """With so much more."""
        return replace(
            self,
            queries=self.queries + queries,
            fallbacks=self.fallbacks + fallbacks,
            usage=self.usage + usage,
        )


def described(reranker: Reranker, settings: Mapping[str, Any]) -> Manifest:
    """The manifest of a file that this reranker begins."""
    spec = {
        "strategy": _spec("strategies", reranker.strategy),
        "backend": _spec("backends", reranker.backend),
        "on_error": reranker.on_error,
        "limits": asdict(reranker.limits) if reranker.limits else None,
    }
    return Manifest(
        reranker=spec,
        prompts={name: _digest(repr(load_prompt(name))) for name in sorted(set(_prompts(spec)))},
        settings=settings,
        packages={name: found for name in PACKAGES if (found := _installed(name))},
    )


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file of rankings is."""
    return path.with_name(path.name + ".manifest.json")


def read_manifest(path: str | Path) -> Manifest:
    """The manifest of a file of rankings.

    Args:
        path: The file of rankings.

    Raises:
        InputError: There is none, or it is damaged or of another version.
    """
    beside = manifest_path(Path(path))
    try:
        data = json.loads(beside.read_text("utf-8"))
        if (data.pop("format"), data.pop("version")) != (FORMAT, VERSION):
            raise InputError(f"{str(beside)!r} is of another version")
        return Manifest(**{**data, "usage": Usage(**data["usage"])})
    except FileNotFoundError as error:
        raise InputError(f"{str(path)!r} has no manifest") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(beside)!r} is damaged: {error}") from error


def check_same(known: Manifest, now: Manifest, path: Path) -> None:
    """Refuse to go on with what another reranker began.

    Raises:
        InputError: The reranker, a prompt or a setting differs.
    """
    plain = json.loads(json.dumps({k: getattr(now, k) for k in _TELLING}))
    changed = [name for name in _TELLING if getattr(known, name) != plain[name]]
    if changed:
        raise InputError(
            f"{str(path)!r} was begun with other {' and '.join(changed)}",
            hint="Give a new file, or what its manifest names.",
        )


_TELLING = ("reranker", "prompts", "settings")


def _spec(group: Group, built: object) -> Any:
    try:
        return to_spec(group, built)
    except ConfigurationError:  # somebody's own class
        return type(built).__qualname__


def _prompts(spec: object) -> Iterator[str]:
    """Names of prompts, however deep in a spec."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("prompt"), str):
            yield spec["prompt"]
        for item in spec.values():
            yield from _prompts(item)
    elif isinstance(spec, list | tuple):
        for item in spec:
            yield from _prompts(item)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
