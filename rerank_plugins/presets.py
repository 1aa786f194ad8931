"""Public checkpoints by their hub ids: the strategy, the exact prompt and the backend of each."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .data import Strategy
from .errors import UnknownNameError
from .middleware import Limits
from .reranker import OnError, Reranker

if TYPE_CHECKING:
    from pathlib import Path


def load_reranker(
    model: "str | Path",
    *,
    preset: str | None = None,
    strategy: Strategy | str | Mapping[str, Any] | None = None,
    on_error: OnError = "raise",
    limits: Limits | None = None,
    **backend_options: Any,
) -> Reranker:
    """A reranker for a checkpoint: one name gives strategy, prompt and backend.

    The model is loaded at the first call.

    Args:
        model: A hub id that `list_presets` knows, or any hub id, folder or ``.gguf`` file
            together with ``preset`` or ``strategy``.
        preset: Treat ``model`` as a copy of this checkpoint: a download or a fine-tuned one.
        strategy: How to rank, where it is not the preset's.
        on_error: As for `Reranker`.
        limits: As for `Reranker`.
        **backend_options: For the backend: ``device``, ``dtype``, ``context_tokens``, ...

    Raises:
        UnknownNameError: The model is not a known checkpoint and no strategy was given.

    Examples:
        >>> reranker = load_reranker("castorini/first_mistral", dtype="bfloat16")
        >>> reranker.strategy.inner
        SingleToken(prompt='rankllm-letters.v1')
    """
    name = preset or str(model)
    spec = find_preset(name)
    if spec is None and (strategy is None or preset is not None):
        raise UnknownNameError(
            f"{name!r} is not a known checkpoint",
            hint="Pass a strategy (strategy='query-likelihood' works with any causal language "
            "model), or preset= one of: " + ", ".join(list_presets()) + ".",
        )
    backend = dict(spec["backend"]) if spec else {"name": "transformers"}
    backend |= {"model": str(model)} | backend_options
    chosen = strategy if strategy is not None else (spec or {})["strategy"]
    return Reranker(chosen, backend, on_error=on_error, limits=limits)


def find_preset(model: str) -> Mapping[str, Any] | None:
    """The specs ``strategy`` and ``backend`` of a checkpoint, where it is a known one.

    Examples:
        >>> find_preset("castorini/first_mistral")["strategy"]["size"]
        20
        >>> find_preset("gpt2") is None
        True
    """
    return _presets().get(model.lower())


def list_presets() -> dict[str, str]:
    """The checkpoints that `load_reranker` knows by name, each with a line about it."""
    return {spec["id"]: spec["description"] for spec in _presets().values()}


@lru_cache
def _presets() -> dict[str, dict[str, Any]]:
    import tomllib  # imported here, as the next: a tenth of the library's import time
    from importlib import resources

    source = resources.files("rerank_plugins").joinpath("presets.toml").read_text("utf-8")
    return {name.lower(): {"id": name, **spec} for name, spec in tomllib.loads(source).items()}
