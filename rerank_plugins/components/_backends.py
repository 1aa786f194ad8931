"""The backend of a component, from what its constructor was given."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ..errors import InputError
from ..handlers import AnyBackend
from ..presets import find_preset, preset_parts
from ..registry import from_spec, resolve


def build_backend(
    backend: Any,
    model: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    device: str | None = None,
    token: Callable[[], str | None] | None = None,
) -> AnyBackend:
    """The backend that was given, or the local model's. Nothing is loaded.

    Args:
        backend: A backend, its registered name, or a spec.
        model: Instead of ``backend``: a hub id, a folder or a ``.gguf`` file.
        options: Further arguments of a backend that is built here.
        preset: A known checkpoint of which ``model`` is a copy; alone, the checkpoint itself.
        device: For a backend that is built here.
        token: As ``device``; called when the model is loaded.

    Raises:
        InputError: Both or neither of ``backend`` and ``model``, options for a backend that is
            already built, unknown options, or a secret among them.
        UnknownNameError: No backend of that name.
    """
    if backend is None and model is None:
        model, preset = preset, None
    if (backend is None) == (model is None):
        raise InputError("give either model= or backend=, and not both")
    extra = dict(options or {}) | ({} if device is None else {"device": device})
    if backend is not None and not isinstance(backend, str | Mapping):
        if extra:
            raise InputError(f"{sorted(extra)} cannot be changed on a backend that is built")
        return backend  # type: ignore[no-any-return]  # checked by Reranker
    if model is not None:
        spec = _of_model(model, preset)
    else:
        spec = dict(backend) if isinstance(backend, Mapping) else {"name": backend}
    spec |= extra
    secrets = _secret_fields(spec)
    if given := sorted(secrets & set(spec)):
        raise InputError(
            f"{given} would be written into files as plain text",
            hint="Leave it to the component's own arguments or to the environment.",
        )
    if token is not None and "token" in secrets:
        spec["token"] = token
    built: AnyBackend = from_spec("backends", spec)
    return built


def _of_model(model: str, preset: str | None) -> dict[str, Any]:
    """The spec of a local model's backend: the checkpoint's own where it is a known one."""
    if find_preset(preset or model) is None:
        return {"name": "transformers", "model": model}
    return preset_parts(preset or model, model if preset else None)[1]


def model_name(backend: object) -> str:
    """What a backend's model is called, in traces and events.

    Examples:
        >>> from rerank_plugins.backends import TransformersBackend
        >>> from rerank_plugins.middleware import cached
        >>> model_name(cached(TransformersBackend("gpt2")))
        'gpt2'
    """
    while (inner := getattr(backend, "inner", None)) is not None:
        backend = inner
    name = getattr(backend, "model", None)
    return name if isinstance(name, str) else type(backend).__name__


def _secret_fields(spec: Mapping[str, Any]) -> set[str]:
    name = spec.get("name")
    cls = resolve("backends", name) if isinstance(name, str) else object
    return {f.name for f in fields(cls) if f.metadata.get("secret")} if is_dataclass(cls) else set()
