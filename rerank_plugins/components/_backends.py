"""The backend and the reranker of a component, from its arguments."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from .._checks import known_keys, some_of
from ..errors import InputError
from ..handlers import AnyBackend
from ..middleware import guarded
from ..presets import (
    DEFAULT_PRESET,
    Named,
    asks_for_pairs,
    backend_of,
    find_named,
    find_preset,
    is_spec,
    preset_parts,
    size_of,
)
from ..presets._names import Key, chunked
from ..ranking import Strategy
from ..registry import Group, from_spec, resolve, to_spec
from ..reranker import OnError, Reranker


def find_parts(
    backend: Any,
    model: Any,
    *,
    preset: str | None = None,
    strategy: Any = None,
    base: str | None = None,
    base_url: str | None = None,
    api_key: Key = None,
    limits: Mapping[str, Any] | None = None,
) -> Named:
    """Find what a component's arguments name: its model, its strategy and its backend.

    Args:
        backend: A backend, its registered name, or a spec; one that names a model alone is
            completed.
        model: Instead of ``backend``: a name, as of `rerank_plugins.load_reranker`, whose default
            is taken where nothing is given.
        preset: A known checkpoint of which ``model`` is a copy; alone, the checkpoint itself.
        strategy: A strategy instead of the checkpoint's own.
        base: The model under an adapter.
        base_url: The server where ``model`` runs; alone, it is asked for its model.
        api_key: The server's key, for asking it.
        limits: What one query may cost, instead of a spec's own limits.

    Raises:
        InputError: Both ``backend`` and ``model`` are given.
        RerankError: See `rerank_plugins.presets.find_named`.
    """
    if backend is None:
        name, given = (preset, None) if model is None and base_url is None else (model, preset)
        if name is None and base_url is None and not asks_for_pairs(strategy or "pair-score"):
            raise InputError(
                f"no model is named, and {DEFAULT_PRESET} only scores pairs",
                hint="Give model= or backend= too.",
            )
        if name is None:
            name, base_url = base_url or DEFAULT_PRESET, None
        found = find_named(
            name, preset=given, strategy=strategy, base=base, base_url=base_url, api_key=api_key
        )
        return found if limits is None else replace(found, limits=limits)
    if any(value is not None for value in (model, base, base_url)):
        raise InputError(
            "give either model= or backend=, and not both",
            hint="base= and base_url= go with model=.",
        )
    own = None
    if isinstance(backend, Mapping):
        own, backend = backend_of(backend)
    known = None if preset is None else preset_parts(preset)[0]
    chosen = next((s for s in (strategy, known, own) if s is not None), None)
    return Named(model=preset, strategy=chosen, backend=backend, limits=limits)


def find_checkpoint(backend: Any, model: Any, **others: Any) -> Named:
    """`find_parts`, for a component that has its own strategy: a spec with another is refused.

    Raises:
        InputError: ``model`` is a spec.
        RerankError: See `find_parts`.
    """
    if isinstance(model, Mapping) or is_spec(model):
        raise InputError(
            "model is a spec, which says how to rank, and this component ranks in its own way",
            hint="Give it to the generic component.",
        )
    return find_parts(backend, model, **others)


def refuse_download(component: str, checkpoint: str, chat: str, given: Iterable[object]) -> None:
    """Refuse to choose a large model for a user who named none.

    Args:
        component: The component's name.
        checkpoint: The model that goes with it.
        chat: The argument that holds the application's own model.
        given: The arguments that name a model, one of which is enough.

    Raises:
        InputError: None is given; the message says what to write, and how large the model is.
    """
    if all(value is None for value in given):
        raise InputError(
            f"{component} without a model would download {checkpoint} "
            f"({size_of(find_preset(checkpoint) or {})})",
            hint=f"To do so, give model={checkpoint!r}; or give base_url=, backend= or {chat}=.",
        )


def build_backend(
    backend: Any,
    options: Mapping[str, Any] | None = None,
    *,
    device: str | None = None,
    token: Callable[[], str | None] | None = None,
    api_key: Key = None,
) -> AnyBackend:
    """Take the backend that was given, or make that of a spec. Nothing is loaded.

    Args:
        backend: A backend, its registered name, or a spec.
        options: Further arguments of a backend that is built here.
        device: The device of a backend that is built here.
        token: Gives the token of a backend that is built here, when the model is loaded.
        api_key: The key of a server.

    Raises:
        InputError: Options for a backend that is already built, unknown options, a secret among
            them, or a key for what is not a server.
        UnknownNameError: No backend of that name.
    """
    extra = dict(options or {}) | ({} if device is None else {"device": device})
    if not isinstance(backend, str | Mapping):
        if api_key is not None:
            extra["api_key"] = api_key
        if extra:
            raise InputError(
                f"{some_of(sorted(extra))} cannot be changed on a backend that is already built",
                hint="Give them to the backend, or give its name instead of the object.",
            )
        return backend  # type: ignore[no-any-return]  # checked by Reranker
    spec = (dict(backend) if isinstance(backend, Mapping) else {"name": backend}) | extra
    secrets = _secret_fields(spec)
    if given := sorted(secrets & set(spec)):
        raise InputError(
            f"{some_of(given)} would be written into files as plain text",
            hint="Leave it to the component's own arguments or to the environment.",
        )
    if token is not None and "token" in secrets:
        spec["token"] = token
    if api_key is not None:
        if "api_key" not in secrets:
            raise InputError("api_key= is for a server", hint="Give base_url= too.")
        spec["api_key"] = api_key
    built: AnyBackend = from_spec("backends", spec)
    return built


def build_reranker(
    strategy: Strategy | str | Mapping[str, Any],
    backend: AnyBackend,
    *,
    raise_on_failure: bool,
    limits: Mapping[str, Any] | None,
    chunk_words: int | None = None,
) -> Reranker:
    """Make the reranker of a component: any exception in its backend is a failed call.

    Args:
        strategy: A strategy, its registered name, or a spec.
        backend: The backend.
        raise_on_failure: Raise when a call fails; else keep the order.
        limits: Names and values of `rerank_plugins.Limits`.
        chunk_words: Words in the chunks of long passages; None leaves them whole.
    """
    on_error: OnError = "raise" if raise_on_failure else "keep_order"
    strategy = chunked(strategy, chunk_words)
    return Reranker(strategy, guarded(backend), on_error=on_error, limits=limits)


def reranker_of(
    names: Mapping[str, Any],
    options: Mapping[str, Any] | None,
    *,
    raise_on_failure: bool,
    chunk_words: int | None = None,
) -> Reranker:
    """Make the reranker of a component that has no strategy of its own.

    Args:
        names: Arguments of `find_parts`.
        options: Further arguments of a backend that is built here.
        raise_on_failure: Raise when a call fails; else keep the order.
        chunk_words: Words in the chunks of long passages; None leaves them whole.
    """
    named = find_parts(**names)
    return build_reranker(
        named.with_strategy(),
        build_backend(named.backend, options),
        raise_on_failure=raise_on_failure,
        limits=named.limits,
        chunk_words=chunk_words,
    )


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
