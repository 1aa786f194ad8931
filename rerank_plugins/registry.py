"""Strategies and backends by name: built-ins, and other people's through entry points.

A *spec* is a plain dictionary, ``{"name": "sliding-window", "size": 20, "inner": {...}}``: what
YAML files store. Plugins register a class under the entry-point group
``rerank_plugins.strategies`` or ``rerank_plugins.backends``; they are looked up one at a time,
so a broken plugin breaks only itself.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, Literal

from ._checks import nearest_of, some_of
from .errors import ConfigurationError, InputError, UnknownNameError

Group = Literal["strategies", "backends"]

BUILT_IN: Mapping[Group, Mapping[str, str]] = {
    "strategies": {
        "acu-rank": "rerank_plugins.strategies:AcuRank",
        "attention-score": "rerank_plugins.strategies:AttentionScore",
        "best-chunk": "rerank_plugins.strategies:BestChunk",
        "blend": "rerank_plugins.strategies:Blend",
        "block-embedding": "rerank_plugins.strategies:BlockEmbedding",
        "blitz-rank": "rerank_plugins.strategies:BlitzRank",
        "calibrated": "rerank_plugins.strategies:Calibrated",
        "cascade": "rerank_plugins.strategies:Cascade",
        "consensus": "rerank_plugins.strategies:Consensus",
        "constrained-permutation": "rerank_plugins.strategies:ConstrainedPermutation",
        "full-list": "rerank_plugins.strategies:FullList",
        "groupwise": "rerank_plugins.strategies:Groupwise",
        "head": "rerank_plugins.strategies:Head",
        "hybrid": "rerank_plugins.strategies:Hybrid",
        "joint-rank": "rerank_plugins.strategies:JointRank",
        "keep-order": "rerank_plugins.strategies:KeepOrder",
        "pair-score": "rerank_plugins.strategies:PairScore",
        "pairwise": "rerank_plugins.strategies:Pairwise",
        "permutation": "rerank_plugins.strategies:Permutation",
        "pointwise": "rerank_plugins.strategies:Pointwise",
        "pointwise-grade": "rerank_plugins.strategies:PointwiseGrade",
        "pseudo-query": "rerank_plugins.strategies:PseudoQuery",
        "query-likelihood": "rerank_plugins.strategies:QueryLikelihood",
        "setwise": "rerank_plugins.strategies:Setwise",
        "single-token": "rerank_plugins.strategies:SingleToken",
        "sliding-window": "rerank_plugins.strategies:SlidingWindow",
        "top-down": "rerank_plugins.strategies:TopDown",
        "tournament": "rerank_plugins.strategies:Tournament",
        "when": "rerank_plugins.strategies:When",
    },
    "backends": {
        "balanced": "rerank_plugins.backends:Balanced",
        "constant": "rerank_plugins.testing:Constant",
        "cross-encoder": "rerank_plugins.backends:CrossEncoderBackend",
        "embedding": "rerank_plugins.backends:EmbeddingBackend",
        "late-interaction": "rerank_plugins.backends:LateInteractionBackend",
        "logged": "rerank_plugins.testing:Logged",
        "onnx-cross-encoder": "rerank_plugins.backends:OnnxCrossEncoderBackend",
        "openai": "rerank_plugins.backends:OpenAIBackend",
        "oracle": "rerank_plugins.testing:Oracle",
        "replay": "rerank_plugins.testing:Replay",
        "routed": "rerank_plugins.backends:Routed",
        "seq2seq": "rerank_plugins.backends:Seq2SeqBackend",
        "transformers": "rerank_plugins.backends:TransformersBackend",
        "vllm": "rerank_plugins.backends:VLLMBackend",
    },
}
ALIASES: Mapping[Group, Mapping[str, Mapping[str, Any]]] = {
    "strategies": {"first": {"name": "sliding-window", "inner": "single-token"}},
    "backends": {},
}
"""Names that stand for a spec; further keys of a spec with such a name are added to it."""

_PARTS = {  # of strategies: they nest in specs under these names
    "embedding-prompt": "rerank_plugins.prompts:EmbeddingPrompt",
    "likelihood-prompt": "rerank_plugins.prompts:LikelihoodPrompt",
    "listwise-prompt": "rerank_plugins.prompts:ListwisePrompt",
    "pointwise-prompt": "rerank_plugins.prompts:PointwisePrompt",
    "sampling": "rerank_plugins.strategies:Sampling",
}
_WORD = re.compile(r"\w+")
_NESTED: Mapping[Group, frozenset[str]] = {  # arguments where a bare name stands for a spec
    "strategies": frozenset({"inner", "first", "pick", "then"}),
    "backends": frozenset({"backends", "inner", "pairs", "search", "text"}),
}


def names(group: Group) -> tuple[str, ...]:
    """Every name of a group, built in or installed."""
    from importlib.metadata import entry_points  # imported here: slow, and rarely needed

    installed = entry_points(group=f"rerank_plugins.{group}").names
    return tuple(sorted({*BUILT_IN[group], *ALIASES[group], *installed}))


def resolve(group: Group, name: str) -> type[Any]:
    """The class that goes by ``name``.

    Raises:
        UnknownNameError: No built-in and no installed plugin has that name.
        ConfigurationError: The plugin of that name cannot be imported.
    """
    from importlib.metadata import entry_points  # imported here: slow, and rarely needed

    name = _own_name(group, name)
    name = ALIASES[group].get(name, {}).get("name", name)
    if name in BUILT_IN[group]:
        return _import(BUILT_IN[group][name])
    for point in entry_points(group=f"rerank_plugins.{group}", name=name):
        try:
            found: type[Any] = point.load()
        except Exception as error:  # third-party code may raise anything
            raise ConfigurationError(
                f"the plugin {name!r} ({point.value}) cannot be loaded: {error}"
            ) from error
        return found
    raise UnknownNameError(
        f"there is no {name!r} among the {group}", hint=nearest_of(name, names(group))
    )


def from_spec(group: Group, spec: str | Mapping[str, Any]) -> Any:
    """Build what a spec describes.

    Args:
        group: Whether a strategy or a backend is wanted.
        spec: A name, or a mapping with ``name`` and constructor arguments; arguments that are
            mappings with a ``name`` are built first, also those in a list. The strategy ``first``
            is FIRST, a ``single-token`` in a ``sliding-window``. The library's own names may be
            written in capital letters, too.

    Raises:
        UnknownNameError: A name is not known.
        InputError: The spec has no name, or an argument that the class does not take.

    Examples:
        >>> from_spec("strategies", {"name": "sliding-window", "inner": "single-token"}).size
        20
        >>> from_spec("strategies", "FIRST").inner
        SingleToken(prompt='first.v1', policy='keep_order')
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        raise InputError(f"a spec is a name or a mapping, not {spec!r:.80}")
    if not isinstance(spec.get("name"), str):
        keys = some_of(spec) or "nothing"
        hint = {"strategies": "Give name.", "backends": "Give name, or model alone."}[group]
        raise InputError(f"a spec of {group} needs a name, and this has {keys}", hint=hint)
    name = _own_name(group, spec["name"])
    values = {**ALIASES[group].get(name, {}), **spec}
    cls = _import(_PARTS[name]) if name in _PARTS else resolve(group, name)
    nested = _NESTED[group] | _held(group, cls)
    arguments = {k: _argument(group, nested, k, v) for k, v in values.items() if k != "name"}
    if is_dataclass(cls):
        known = [f.name for f in fields(cls) if f.init]
        if unknown := sorted(set(arguments) - set(known)):
            hint = nearest_of(unknown[0], known, "It takes")
            raise InputError(f"{name!r} takes no {some_of(unknown)}", hint=hint)
    try:
        return cls(**arguments)
    except TypeError as error:
        given = some_of(sorted(arguments)) or "nothing"
        raise InputError(f"{name!r} cannot be built from {given}: {error}") from error


def to_spec(group: Group, built: object) -> dict[str, Any]:
    """The spec that builds an equal object: plain values only.

    Raises:
        ConfigurationError: Its class has no registered name, is not a dataclass, or holds a
            value that is not plain.

    Examples:
        >>> from rerank_plugins.strategies import SingleToken
        >>> to_spec("strategies", SingleToken())
        {'name': 'single-token', 'prompt': 'first.v1', 'policy': 'keep_order'}
    """
    cls = type(built)
    if not is_dataclass(built):
        raise ConfigurationError(f"{cls.__name__} is not a dataclass, so it has no spec")
    values = {f.name: getattr(built, f.name) for f in fields(built) if f.init}
    for secret in [f.name for f in fields(built) if f.metadata.get("secret")]:
        if values.pop(secret) is not None:
            raise ConfigurationError(
                f"{cls.__name__} holds a secret, {secret}, which is never written into a spec",
                hint="Leave it out, and let it come from the environment.",
            )
    return {"name": _name_of(group, cls), **{k: _plain(group, k, v) for k, v in values.items()}}


def is_built_in(group: Group, spec: object) -> bool:
    """Whether a spec, with all that is nested in it, names nothing but this library's own classes.

    Examples:
        >>> is_built_in("strategies", {"name": "sliding-window", "inner": "single-token"})
        True
        >>> is_built_in("strategies", {"name": "sliding-window", "inner": "a-plugin"})
        False
    """
    return isinstance(spec, Mapping) and "name" in spec and _is_own(group, "", spec)


def _own_name(group: Group, name: str) -> str:
    """The name in the letters in which the library has it; as it is where it has none."""
    small = name.casefold()
    return small if small in {*BUILT_IN[group], *ALIASES[group], *_PARTS} else name


def _is_own(group: Group, key: str, value: object) -> bool:
    """As `_argument`, which builds what is named."""
    own = [*BUILT_IN[group], *ALIASES[group], *_PARTS]
    if isinstance(value, Mapping):
        named = "name" not in value or value["name"] in own
        return named and all(_is_own(group, str(k), v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_is_own(group, key, item) for item in value)
    return key not in _NESTED[group] or not isinstance(value, str) or value in own


def _argument(group: Group, nested: Set[str], key: str, value: object) -> object:
    if isinstance(value, Mapping) and "name" in value:
        return from_spec(group, value)
    if key in nested and isinstance(value, str):
        return from_spec(group, value)
    if isinstance(value, list | tuple):
        return tuple(_argument(group, nested, key, item) for item in value)
    return value


def _held(group: Group, cls: type[Any]) -> Set[str]:
    """The fields of a class whose annotations name a strategy or a backend."""
    kind = {"strategies": "Strategy", "backends": "Backend"}[group]
    words = {name: set(_WORD.findall(str(hint))) for name, hint in _annotations(cls).items()}
    return {name for name, found in words.items() if found & {kind, f"Any{kind}", f"Async{kind}"}}


def _annotations(cls: type[Any]) -> dict[str, Any]:
    """The annotations of a class and its bases, unresolved: a plugin's may name anything."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        found |= vars(base).get("__annotations__", {})
    return found


def _plain(group: Group, key: str, value: object) -> object:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple() | list():
            return [_plain(group, key, item) for item in value]
        case Mapping():
            return {str(k): _plain(group, key, v) for k, v in value.items()}
        case _ if is_dataclass(value):
            return to_spec(group, value)
        case _:
            raise ConfigurationError(f"{key}={value!r} cannot be written into a spec")


def _name_of(group: Group, cls: type[Any]) -> str:
    wanted = {f"{cls.__module__}:{cls.__qualname__}"}
    for name, target in {**BUILT_IN[group], **_PARTS}.items():
        if target.endswith(f":{cls.__qualname__}") and _import(target) is cls:
            return name
    from importlib.metadata import entry_points  # imported here: slow, and rarely needed

    for point in entry_points(group=f"rerank_plugins.{group}"):
        if point.value in wanted or (point.attr == cls.__qualname__ and point.load() is cls):
            return point.name
    raise ConfigurationError(
        f"{cls.__name__} has no registered name",
        hint=f"Register it under the entry-point group rerank_plugins.{group}.",
    )


def _import(target: str) -> type[Any]:
    module, _, attribute = target.partition(":")
    found: type[Any] = getattr(import_module(module), attribute)
    return found
