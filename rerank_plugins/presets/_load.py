"""Public checkpoints by hub id: the strategy, the exact prompt and the backend of each."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .._shipped import package_folder
from ..errors import InputError, UnknownNameError
from ..middleware import Limits
from ..ranking import Strategy
from ..reranker import OnError, Reranker
from ._folder import is_saved, saved_parts

if TYPE_CHECKING:
    from pathlib import Path


DEFAULT_PRESET = "rerank-plugins/minilm-cross-encoder"
"""The model that `load_reranker` loads by default."""


def load_reranker(
    model: "str | Path" = DEFAULT_PRESET,
    *,
    base: "str | Path | None" = None,
    preset: str | None = None,
    strategy: Strategy | str | Mapping[str, Any] | None = None,
    on_error: OnError = "raise",
    limits: Limits | None = None,
    **backend_options: Any,
) -> Reranker:
    """A reranker for a checkpoint: one name gives strategy, prompt and backend.

    The model is loaded at the first call.

    Args:
        model: A hub id that `list_presets` knows, a folder that `rerank_plugins.training.train`
            made, or any hub id, folder or ``.gguf`` file together with ``preset`` or ``strategy``.
            By default the small cross-encoder of the package ``rerank-plugins-models``, mixed with
            the retriever's scores where the passages have any (`Hybrid`).
        base: The model under an adapter, if it is not the one that the adapter names: a hub id, a
            folder or a ``.gguf`` file.
        preset: The hub id of a known checkpoint that ``model`` is a copy of: a download, or a
            fine-tuned one.
        strategy: A strategy or its spec, instead of the preset's.
        on_error: See `Reranker`.
        limits: See `Reranker`.
        **backend_options: Arguments of the backend: ``device``, ``dtype``, ``context_tokens``, ...

    Raises:
        UnknownNameError: The model is not a known checkpoint and no strategy was given.
        InputError: ``base`` was given for a model without an adapter.
        MissingExtraError: The model is one of ``rerank-plugins-models``, which is not installed.
        ModelLoadError: The folder's ``reranker.json`` is damaged.

    Examples:
        >>> reranker = load_reranker("castorini/first_mistral", dtype="bfloat16")
        >>> reranker.strategy.inner
        SingleToken(prompt='rankllm-letters.v1', policy='keep_order')
    """
    name = preset or str(model)
    chosen: Strategy | str | Mapping[str, Any]
    if find_preset(name) is not None:
        own, backend = preset_parts(name, None if str(model) == name else str(model))
        chosen = own if strategy is None else strategy
    elif strategy is None or preset is not None:
        raise UnknownNameError(
            f"{name!r} is not a known checkpoint",
            hint="Pass a strategy (strategy='query-likelihood' works with any causal language "
            "model), or preset= one of: " + ", ".join(list_presets()) + ".",
        )
    else:
        chosen, backend = strategy, {"name": "transformers", "model": str(model)}
    if base is not None:
        if backend.get("adapter") is None:
            raise InputError("base= is for adapters, and this model has none")
        backend = {**backend, "model": str(base)}
    return Reranker(chosen, backend | backend_options, on_error=on_error, limits=limits)


def find_preset(model: str) -> Mapping[str, Any] | None:
    """The preset of a checkpoint or of a folder with a trained reranker; None if it is neither.

    Its keys: ``id``, ``description``, ``licence``, ``source``, the specs ``strategy`` and
    ``backend``, and ``unverified`` where something could not be checked against a source.

    Examples:
        >>> find_preset("castorini/first_mistral")["strategy"]["size"]
        20
        >>> find_preset("gpt2") is None
        True
    """
    known = _presets().get(model.lower())
    if known is not None or not is_saved(model):
        return known
    strategy, backend = saved_parts(model)
    return {"id": model, "description": "trained here", "strategy": strategy, "backend": backend}


def list_presets() -> dict[str, str]:
    """The checkpoints that `load_reranker` knows by name, each with one line about it."""
    return {spec["id"]: spec["description"] for spec in _presets().values()}


def preset_parts(name: str, model: str | None = None) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The specs of a checkpoint's strategy and backend.

    Args:
        name: A hub id that `list_presets` knows, or a folder with a trained reranker.
        model: What the backend loads instead of that checkpoint: a hub id, a folder or a file.

    Raises:
        UnknownNameError: There is no such preset.
        MissingExtraError: The checkpoint is in ``rerank-plugins-models``, which is not installed.
    """
    spec = find_preset(name)
    if spec is None:
        raise UnknownNameError(
            f"there is no preset {name!r}", hint="`rerank-plugins models` lists them."
        )
    backend = {"name": "transformers", "model": spec["id"], **spec["backend"]}
    if "package" in spec:
        package_folder(spec["package"], spec["id"])  # an error now and not when it is loaded
        backend[spec["package_holds"]] = spec["id"]
    return spec["strategy"], backend | ({} if model is None else {"model": model})


@lru_cache
def _presets() -> dict[str, dict[str, Any]]:
    import tomllib  # imported here, like the next: a tenth of the library's import time
    from importlib import resources

    source = resources.files(__package__).joinpath("checkpoints.toml").read_text("utf-8")
    named = {name: {"id": name, **spec} for name, spec in tomllib.loads(source).items()}
    aliases = {a.lower(): spec for spec in named.values() for a in spec.get("aliases", ())}
    return {name.lower(): spec for name, spec in named.items()} | aliases
