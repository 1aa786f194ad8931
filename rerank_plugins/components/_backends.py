"""The backend and the reranker of a component, from its arguments."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from .._checks import known_keys
from ..errors import InputError
from ..handlers import AnyBackend
from ..middleware import guarded
from ..presets import find_preset, preset_parts
from ..ranking import Strategy
from ..registry import Group, from_spec, resolve, to_spec
from ..reranker import OnError, Reranker


def build_backend(
    backend: Any,
    model: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    device: str | None = None,
    token: Callable[[], str | None] | None = None,
) -> AnyBackend:
    """Take the backend that was given, or make that of a local model. Nothing is loaded.

    Args:
        backend: A backend, its registered name, or a spec.
        model: Instead of ``backend``: a hub id, a folder or a ``.gguf`` file.
        options: Further arguments of a backend that is built here.
        preset: A known checkpoint of which ``model`` is a copy; alone, the checkpoint itself.
        device: The device of a backend that is built here.
        token: Gives the token of a backend that is built here, when the model is loaded.

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
            raise InputError(
                f"{sorted(extra)} cannot be changed on a backend that is already built",
                hint="Give them to the backend, or give its name instead of the object.",
            )
        return backend  # type: ignore[no-any-return]  # checked by Reranker
    spec: dict[str, Any]
    if model is not None:
        known = find_preset(preset or model) is not None
        spec = (
            preset_parts(preset or model, model if preset else None)[1]
            if known
            else {"name": "transformers", "model": model}
        )
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


def build_reranker(
    strategy: Strategy | str | Mapping[str, Any],
    backend: AnyBackend,
    *,
    raise_on_failure: bool,
    limits: Mapping[str, Any] | None,
) -> Reranker:
    """Make the reranker of a component: any exception in its backend is a failed call.

    Args:
        strategy: A strategy, its registered name, or a spec.
        backend: The backend.
        raise_on_failure: Raise when a call fails; else keep the order.
        limits: Names and values of `rerank_plugins.Limits`.
    """
    on_error: OnError = "raise" if raise_on_failure else "keep_order"
    return Reranker(strategy, guarded(backend), on_error=on_error, limits=limits)


def chat_options(
    name: str, options: Mapping[str, Any] | None, others: Mapping[str, object]
) -> dict[str, Any]:
    """Check the options of the backend around an application's own chat model.

    Args:
        name: The argument that holds the chat model.
        options: The component's ``backend_options``.
        others: Arguments that do not go with it, by name.

    Raises:
        InputError: One of ``others`` was given, or there is no such option.
    """
    for other, value in others.items():
        if value is not None:
            raise InputError(f"give either {other}= or {name}=, and not both")
    known_keys(f"the backend of {name}=", options or {}, ("max_concurrency",))
    return dict(options or {})


def plain_part(group: Group, part: Any) -> Any:
    """Make the plain form of a strategy or a backend, for files; names and dictionaries stay.

    Raises:
        ConfigurationError: It is an object without a plain form.
    """
    return part if part is None or isinstance(part, str | Mapping) else to_spec(group, part)


def model_name(backend: object) -> str:
    """The name of a backend's model, for traces and events.

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
