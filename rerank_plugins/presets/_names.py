"""The names of rerankers: what each stands for, whoever is asked."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from .._checks import at_least, close_to, either, known_keys, nearest_of, some_of
from .._extras import extra
from ..calls import ScorePair
from ..errors import ConfigurationError, InputError, UnknownNameError
from ..plans import Done, step
from ..ranking import Strategy
from ..registry import from_spec, resolve
from ..registry import names as registered
from ..strategies import with_chunks
from ..text import Passage
from ._checkpoints import find_preset, list_presets, preset_parts
from ._folder import RERANKER_FILE
from ._foreign import is_foreign, refuse_foreign

AnyStrategy = Strategy | str | Mapping[str, Any]
Key = str | Callable[[], str | None] | None
SPECS = (".json", ".yaml", ".yml")
"""The suffixes of a spec file."""

_OF_PARTS = ("strategy", "backend", "chunk_words", "on_error", "limits")
_OF_MODEL = ("model", "preset", "strategy", "base", "base_url", "chunk_words", "on_error", "limits")
UNTRAINED: Mapping[str, Any] = {
    "name": "sliding-window",
    "inner": {"name": "single-token", "policy": "generate"},
}
"""How a chat model that was not trained to rank does so: by log-probabilities of identifiers, or by
the order that it writes where it reports none."""
_HOSTED = (
    *("gpt-3", "gpt-4", "gpt-5", "chatgpt", "openai", "claude", "anthropic", "gemini", "grok"),
    *("cohere", "rerank-", "command-", "voyage", "deepseek-chat", "mistral-large"),
)
"""Beginnings of the names of models that only their makers' services have."""
_ADDRESS = re.compile(r"[\w.-]{1,253}:[0-9]{1,5}(?:/|$)")
"""The beginning of an address without its scheme."""
_KEYS = frozenset({"api_key", "api_key_env"})
_TEMPLATES = ("query_template", "passage_template")
_CONFIG, _ADAPTER = "config.json", "adapter_config.json"
_ENCODER = "late-interaction"  # the backend of encoders
_MODULES = "modules.json"
"""The file of sentence-transformers that a folder with an encoder has."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """The meaning of a reranker's name.

    Attributes:
        model: The checkpoint, or the model as its backend knows it; None for a spec of two parts.
        strategy: How it ranks; None where nothing says so.
        backend: The backend's spec, or the backend that was given.
        chunk_words: Of a spec: the number of words in the chunks of long passages.
        on_error: Of a spec; None where it says nothing.
        limits: Of a spec; None where it says nothing.
    """

    model: str | None
    strategy: AnyStrategy | None
    backend: Any
    chunk_words: int | None = None
    on_error: Any = None
    limits: Any = None

    def with_strategy(self) -> AnyStrategy:
        """The strategy.

        Raises:
            UnknownNameError: Nothing says how the model ranks.
            InputError: Nothing says how to rank with the backend.
        """
        if self.strategy is None and self.model is None:
            raise InputError(
                "a backend does not say how to rank",
                hint="Give a strategy, such as strategy='first', or a model instead.",
            )
        if self.strategy is None:
            raise _unknown(str(self.model))
        return chunked(self.strategy, self.chunk_words)


def chunked(strategy: AnyStrategy, words: int | None) -> AnyStrategy:
    """The strategy on chunks of so many words (`with_chunks`); itself when None.

    Raises:
        InputError: ``words`` is not a positive whole number, or the spec is wrong.
    """
    if words is None:
        return strategy
    at_least(1, chunk_words=words)
    if isinstance(strategy, str | Mapping):
        strategy = from_spec("strategies", strategy)
    built: Any = strategy
    return with_chunks(built, words)


def _unknown(model: str) -> UnknownNameError:
    """The error for a model of which nothing says how it ranks."""
    kinds = "'query-likelihood' for a language model, 'pair-score' for a cross-encoder"
    if Path(model).is_dir():
        return UnknownNameError(
            f"nothing says how the model in the folder {model!r} ranks",
            hint=f"Give strategy={kinds}; or preset=, the checkpoint that it is a copy of.",
        )
    if model.startswith((".", "~")) or model.count("/") > 1 or model.endswith("/"):
        return UnknownNameError(
            f"there is no folder {model!r}",
            hint="Give an existing folder, or a name of `rerank-plugins models`.",
        )
    if model.casefold() in registered("strategies"):
        return UnknownNameError(
            f"{model!r} is a strategy, not a model",
            hint=f"Name a model too: load_reranker(MODEL, strategy={model!r}), or give a spec.",
        )
    if _ADDRESS.match(model):
        return UnknownNameError(
            f"{model!r} is not a known checkpoint",
            hint=f"A server's address begins with http: 'http://{model}'.",
        )
    encoder = {
        "strategy": "pair-score",
        "backend": {"name": _ENCODER, "model": model},
    }
    near = close_to(model, list_presets())
    meant = f"Did you mean {either(near)}?" if near else "`rerank-plugins models` has those."
    return UnknownNameError(
        f"{model!r} is not a known checkpoint",
        hint=f"{meant} With strategy=... it may be any model: {kinds}. An encoder is a spec: "
        f"{encoder}.",
    )


def find_named(
    model: str | Path | Mapping[str, Any],
    *,
    preset: str | None = None,
    strategy: AnyStrategy | None = None,
    base: str | Path | None = None,
    base_url: str | None = None,
    api_key: Key = None,
) -> Named:
    """Find what a name stands for. No model is loaded; a server is asked for its model's name.

    Args:
        model: A checkpoint (with or without its organisation, in any case), a folder that was
            trained, a model's folder, a ``.gguf`` or ``.onnx`` file, a hub id, the address of a
            server, a spec, or a spec file. A server that says that its model reranks (this
            library's, or Cohere's) is asked for scores, whatever the model's name.
        preset: The known checkpoint that ``model`` is a copy of.
        strategy: A strategy instead of the checkpoint's own.
        base: The model under an adapter.
        base_url: The server where the model runs.
        api_key: The server's key, for asking it.

    Raises:
        UnknownNameError: There is no such preset.
        InputError: The spec is wrong, the folder holds no model, or arguments exclude each other.
        ConfigurationError: Nothing answers at the address, or it does not say which model it has.
        MissingExtraError, ModelLoadError: See `preset_parts`.
    """
    _refuse_nameless(model)
    spec = _spec_of(model)
    given: dict[str, Any] = {"preset": preset, "base": base, "base_url": base_url}
    given = {name: value for name, value in given.items() if value is not None}
    if spec is None:
        return _of_model(str(model), strategy=strategy, api_key=api_key, **given)
    if "model" not in spec:
        if given:
            raise InputError(f"{next(iter(given))}= is for a model, and this is a spec of parts")
        return _of_parts(spec, strategy)
    values = {name: spec[name] for name in _OF_MODEL if name in spec} | given
    on_error, limits = values.pop("on_error", None), values.pop("limits", None)
    words = values.pop("chunk_words", None)
    own, name = values.pop("strategy", None), values.pop("model")
    chosen = own if strategy is None else strategy
    found = find_named(name, strategy=chosen, api_key=api_key, **values)
    options = {name: value for name, value in spec.items() if name not in _OF_MODEL}
    return Named(
        model=found.model,
        strategy=found.strategy,
        backend=_with_options(found.backend, options),
        chunk_words=words or found.chunk_words,
        on_error=on_error or found.on_error,
        limits=limits or found.limits,
    )


def _refuse_nameless(model: object) -> None:
    """Refuse what cannot be a name, such as None."""
    if not isinstance(model, str | Path | Mapping) or model == "":
        raise InputError(
            f"model is {model!r:.80}, expected a name", hint="Leave it out for the default."
        )


def is_address(name: object) -> bool:
    """Whether a name is the address of a server."""
    return isinstance(name, str) and name.startswith(("http://", "https://"))


def is_spec(name: object) -> bool:
    """Whether a name is that of a spec file."""
    return Path(str(name)).suffix in SPECS and not is_address(name)


def load_spec(path: str | Path) -> dict[str, Any]:
    """Read a spec from a JSON or YAML file.

    Raises:
        InputError: The file cannot be read, or is not a mapping.
        MissingExtraError: It is YAML, and PyYAML is not installed.
    """
    try:
        text = Path(path).read_text("utf-8")
    except FileNotFoundError as error:
        hint = "Give an existing file, or a name of `rerank-plugins models`."
        raise InputError(f"there is no spec file {str(path)!r}", hint=hint) from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the spec {str(path)!r}: {error}") from error
    if Path(path).suffix == ".json":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{str(path)!r} is not JSON: {error}") from error
    else:
        yaml = extra("yaml", "cli")
        try:
            found = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            raise InputError(f"{str(path)!r} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise InputError(
            f"{str(path)!r} is not a mapping",
            hint="Give one with a model, or with a strategy and a backend.",
        )
    return found


def backend_of(spec: Mapping[str, Any]) -> tuple[AnyStrategy | None, Any]:
    """A backend's spec, completed where it names a model alone, and the strategy of that model."""
    if "name" in spec or not isinstance(spec.get("model"), str):
        return None, spec
    found = find_named(spec["model"])
    options = {name: value for name, value in spec.items() if name != "model"}
    return found.strategy, _with_options(found.backend, options)


def _spec_of(model: str | Path | Mapping[str, Any]) -> Mapping[str, Any] | None:
    if isinstance(model, Mapping):
        return model
    return load_spec(model) if is_spec(model) else None


def _of_parts(spec: Mapping[str, Any], strategy: AnyStrategy | None) -> Named:
    """The meaning of a spec of a strategy and a backend."""
    if found := sorted(_KEYS & set(spec)):
        raise InputError(
            f"{found[0]} stands beside the backend, and belongs to it",
            hint='Give backend: {"name": "openai", ..., "api_key_env": "NAME"}.',
        )
    known_keys("a reranker's spec", spec, ("model", *_OF_PARTS))
    if "backend" not in spec:
        raise InputError("a reranker's spec needs a backend or a model")
    own, backend = None, spec["backend"]
    if isinstance(backend, Mapping):
        own, backend = backend_of(backend)
    chosen = spec.get("strategy", own) if strategy is None else strategy
    if chosen is None:
        raise InputError("a reranker's spec needs a strategy")
    return Named(
        model=None,
        strategy=chosen,
        backend=backend,
        chunk_words=spec.get("chunk_words"),
        on_error=spec.get("on_error"),
        limits=spec.get("limits"),
    )


def _of_model(
    model: str,
    *,
    preset: str | None = None,
    strategy: AnyStrategy | None = None,
    base: str | Path | None = None,
    base_url: str | None = None,
    api_key: Key = None,
) -> Named:
    """The meaning of a model's name."""
    reranks = False
    if is_address(model):
        if base_url is not None:
            raise InputError(
                "the model is an address, and base_url another",
                hint="Give base_url=... and the model's name on that server.",
            )
        base_url = model
        model, reranks = _served(base_url, api_key)
    known = find_preset(model) if preset is None else _preset(preset)
    own: AnyStrategy | None
    reranks = reranks or is_foreign(model)
    if base_url is not None and reranks and preset is None:
        own, backend = "pair-score", _on_server(model, base_url, None)
    elif base_url is not None:
        own = UNTRAINED if known is None else _served_strategy(known["strategy"])
        backend = _on_server(model, base_url, known)
    elif known is not None:
        copy = preset is not None or (Path(model).is_dir() and known["id"] != model)
        own, backend = preset_parts(preset or model, model if copy else None)
    else:
        own, backend = _of_files(model)
    chosen = _chosen(strategy, own)
    if base is not None:
        backend = _on_base(backend, base)
    if known is None and base_url is None and own is None and asks_for_pairs(chosen):
        backend = {**backend, "name": "cross-encoder"}
    name = model if known is None else known["id"]
    return Named(model=name, strategy=chosen, backend=backend)


def _preset(name: str) -> Mapping[str, Any]:
    """The known checkpoint of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if (known := find_preset(name)) is None:
        refuse_foreign(name)
        raise UnknownNameError(
            f"preset={name!r} is not a known checkpoint", hint=nearest_of(name, list_presets())
        )
    return known


def _on_base(backend: dict[str, Any], base: str | Path) -> dict[str, Any]:
    if backend.get("adapter") is None:
        raise InputError("base= is for adapters, and this model has none")
    return {**backend, "model": str(base)}


def _chosen(given: AnyStrategy | None, own: AnyStrategy | None) -> AnyStrategy | None:
    """The strategy that was given; ``"first"`` means the checkpoint's own FIRST, if it has one."""
    if isinstance(given, str) and given.casefold() == "first" and isinstance(own, Mapping):
        inner = own.get("inner")
        if isinstance(inner, Mapping) and inner.get("name") == "single-token":
            return own
    return own if given is None else given


def asks_for_pairs(strategy: AnyStrategy | None) -> bool:
    """Whether a strategy asks for nothing but scores of pairs."""
    if strategy is None:
        return False
    built = from_spec("strategies", strategy) if isinstance(strategy, str | Mapping) else strategy
    plan = built.rank("query", (Passage("one passage"), Passage("another passage")))
    first = step(plan)
    plan.close()
    return not isinstance(first, Done) and all(isinstance(call, ScorePair) for call in first)


def _served(url: str, api_key: Key) -> tuple[str, bool]:
    """The name of the one model of a server, and whether the server says that it reranks.

    Raises:
        ConfigurationError: Nothing answers, or there is not exactly one.
    """
    from ..backends._server import list_models  # imported here: not everyone has a server

    found = list_models(url, api_key=api_key)
    if len(found) == 1:
        [(name, endpoints)] = found.items()
        return name, "rerank" in endpoints and "chat" not in endpoints
    has = f"has {len(found)} models: {some_of(map(repr, found))}" if found else "lists no models"
    raise ConfigurationError(f"{url} {has}", hint=f"Give one's name, and base_url={url!r}.")


def _served_strategy(own: Mapping[str, Any]) -> AnyStrategy:
    """A checkpoint's strategy on a server: one that scores pairs has calibrated them already."""
    inner = own.get("inner")
    if own.get("name") != "calibrated" or not isinstance(inner, Mapping):
        return own
    return inner if inner.get("name") == "pair-score" else own


def _on_server(model: str, base_url: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """The backend of a model on a server, as much of the checkpoint's as a server takes."""
    own = {} if known is None else known["backend"]
    if any(name in own for name in _TEMPLATES):
        raise InputError(
            f"{model!r} reads a query and a passage in a form that a server does not apply",
            hint="Load it in this process: leave out base_url.",
        )
    kept = {n: own[n] for n in ("context_tokens", "chat_template", "template_options") if n in own}
    return {"name": "openai", "model": model, "base_url": base_url, **kept}


def _of_files(model: str) -> tuple[AnyStrategy | None, dict[str, Any]]:
    """The strategy and the backend of a model that is not a known checkpoint, by its files.

    A hub id is not looked up: nothing says how it ranks.

    Raises:
        UnknownNameError: Only its maker's service has it, or it needs code of its own.
        InputError: A folder holds no model.
    """
    plain = {"name": "transformers", "model": model}
    if model.endswith(".gguf"):
        return "query-likelihood", plain
    if model.endswith(".onnx"):
        from ..backends._onnx.files import folder_of  # imported here: few models are such files

        beside = folder_of(Path(model))
        config = _read(beside / _CONFIG) if (beside / _CONFIG).is_file() else {}
        encoder = _is_encoder(beside, _architecture(config))
        return "pair-score", {**plain, "name": _ENCODER if encoder else "onnx-cross-encoder"}
    folder = Path(model)
    if not folder.is_dir():
        refuse_foreign(model)
        if "/" not in model and model.casefold().startswith(_HOSTED):
            raise UnknownNameError(
                f"{model!r} is a model of a hosted service",
                hint="Give base_url=, its address, and api_key_env=, the variable with the key.",
            )
        return None, plain
    if (folder / _ADAPTER).is_file():
        under = _read(folder / _ADAPTER).get("base_model_name_or_path")
        return None, {**plain, "model": str(under), "adapter": model}
    if not (folder / _CONFIG).is_file():
        raise InputError(
            f"the folder {model!r} holds neither a trained reranker ({RERANKER_FILE}) nor a model "
            f"({_CONFIG})",
            hint="Give the folder with the model's files, or a name of `rerank-plugins models`.",
        )
    return _of_config(folder, plain)


def _of_config(folder: Path, plain: dict[str, Any]) -> tuple[AnyStrategy | None, dict[str, Any]]:
    """The strategy and the backend of a folder with a model, by its architecture."""
    config = _read(folder / _CONFIG)
    kind = _architecture(config)
    if kind.endswith("ForSequenceClassification"):
        exported = any(folder.rglob("*.onnx")) and not any(folder.glob("*.safetensors"))
        name = "onnx-cross-encoder" if exported else "cross-encoder"
        return "pair-score", {**plain, "name": name}
    if _is_encoder(folder, kind):
        return "pair-score", {**plain, "name": _ENCODER}
    if config.get("is_encoder_decoder"):
        return None, {**plain, "name": "seq2seq"}
    language = kind.endswith(("ForCausalLM", "LMHeadModel"))
    return "query-likelihood" if language else None, plain


def _is_encoder(folder: Path, kind: str) -> bool:
    """Whether a folder with a model of this architecture is an encoder of sentence-transformers."""
    return (folder / _MODULES).is_file() and (kind == "HF_ColBERT" or "For" not in kind)


def _architecture(config: Mapping[str, Any]) -> str:
    """The first architecture that a configuration states, or nothing."""
    stated = config.get("architectures")
    return str(stated[0]) if isinstance(stated, list) and stated else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    return found if isinstance(found, dict) else {}


def refuse_keys(backend: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse the key of a server where the backend has none: it knows other arguments.

    Raises:
        InputError: There is one.
    """
    if found := sorted(_KEYS & set(given) - set(known)):
        raise InputError(
            f"{found[0]} is for a server, and the backend is {backend!r}",
            hint="Give base_url, the server's address; or leave the key out.",
        )


def _with_options(backend: Any, options: Mapping[str, Any]) -> Any:
    """A backend's spec with further keys of a reranker's spec.

    Raises:
        InputError: A key is neither a reranker's nor its backend's, with the nearest one that is;
            it is a secret; or the backend is built already.
    """
    if not options:
        return backend
    spec = {"name": backend} if isinstance(backend, str) else backend
    if not isinstance(spec, Mapping):
        raise InputError(f"{some_of(sorted(options))} cannot be changed on a backend that is built")
    cls = resolve("backends", spec["name"])
    own = [f for f in fields(cls) if f.init] if is_dataclass(cls) else []
    refuse_keys(spec["name"], options, [field.name for field in own])
    if own:
        known_keys("a reranker's spec", options, [*_OF_MODEL, *(field.name for field in own)])
    if secrets := sorted({f.name for f in own if f.metadata.get("secret")} & set(options)):
        raise InputError(
            f"a reranker's spec holds no {some_of(secrets)}: it would be plain text",
            hint="Give api_key_env, the name of the environment variable that holds a key.",
        )
    return {**spec, **options}
