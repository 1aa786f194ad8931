"""What a framework's component needs around a `Reranker`: written once, and without colour.

A component has items with ids, texts and scores of any origin. `candidates` makes passages of
them, a `Reranker` ranks those, and `conclude` says which items to return, with which scores and
with what to tell the user.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from numbers import Integral, Real
from typing import Any

from .data import Ranking, Report, Strategy
from .errors import InputError
from .handlers import AnyBackend
from .presets import find_preset, list_presets
from .prompts import AnyPrompt, ListwisePrompt, load_prompt
from .registry import from_spec, resolve
from .strategies import SingleToken, SlidingWindow

FIRST_MODEL = "castorini/first_mistral"
"""The checkpoint of FIRST components that are given neither a model nor a backend."""

_COMPARABLE = ("logit", "logprob", "probability")


@dataclass(frozen=True, slots=True)
class Candidates:
    """A framework's items as passages, each id once.

    Attributes:
        positions: Where each stood in the framework's list.
        texts: What the model reads.
        scores: What the items had, as Python floats; None where they had none.
        duplicates: How many items were left out because a copy of them is there.
    """

    positions: tuple[int, ...]
    texts: tuple[str, ...]
    scores: tuple[float | None, ...]
    duplicates: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a component returns.

    Attributes:
        lines: Position in the framework's list and score, best first.
        meta: Plain values: usage, score kind, fallback and its causes, repairs.
        warning: One sentence for the log; empty when all went well.
    """

    lines: tuple[tuple[int, float | None], ...]
    meta: dict[str, Any]
    warning: str


def check_top_k(name: str, value: object) -> None:
    """Refuse a number of results that is not a positive integer, in the frameworks' words.

    Examples:
        >>> check_top_k("top_k", 0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: top_k must be > 0, but got 0
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be an integer or None, but got {value!r}")
    if value <= 0:
        raise InputError(f"{name} must be > 0, but got {value}")


def check_threshold(value: object) -> None:
    """Refuse a score threshold that is not a finite number."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"score_threshold must be a number or None, but got {value!r}")


def candidates(ids: Sequence[str], texts: Sequence[str], scores: Sequence[object]) -> Candidates:
    """Each id once: where it is first met, in its best-scored copy.

    Examples:
        >>> candidates(["a", "b", "a"], ["one", "two", "one again"], [0.1, None, 0.9]).texts
        ('one again', 'two')
    """
    numbers = [_number(score) for score in scores]
    best: dict[str, int] = {}
    for i, identifier in enumerate(ids):
        kept = best.get(identifier)
        if kept is None or _strength(numbers[i]) > _strength(numbers[kept]):
            best[identifier] = i
    positions = tuple(best.values())
    return Candidates(
        positions,
        tuple(texts[i] for i in positions),
        tuple(numbers[i] for i in positions),
        len(ids) - len(positions),
    )


def conclude(
    ranking: Ranking,
    found: Candidates,
    *,
    top_k: int | None,
    score_threshold: float | None = None,
    drop_unranked: bool = False,
) -> Outcome:
    """The result of a component.

    Where something failed and the order is the input's, the items keep their scores: a reranker
    that did not rank has none to give. A threshold is inclusive, comes before ``top_k``, and is
    not applied to scores that only number the places (``score_kind="rank"``).

    Args:
        ranking: All candidates, ranked.
        found: The candidates.
        top_k: How many to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of ``ranking.score_kind``.
        drop_unranked: Leave out what the model's answers left out.
    """
    kept = _order_was_kept(ranking)
    applied = score_threshold is not None and ranking.score_kind != "rank"
    lines = [
        (found.positions[i], found.scores[i] if kept else score)
        for i, score in zip(ranking.order, ranking.scores, strict=True)
        if not (applied and score_threshold is not None and score < score_threshold)
        and not (drop_unranked and i in ranking.report.missing)
    ]
    meta = _meta(ranking, found) | {"score_threshold_applied": applied}
    ignored = score_threshold is not None and not applied and len(ranking) > 1 and not kept
    return Outcome(tuple(lines[:top_k]), meta, _warning(ranking, found, ignored))


def first_strategy(
    model: str | None,
    prompt: str | Mapping[str, Any] | ListwisePrompt | None,
    window: int,
    stride: int,
) -> SlidingWindow:
    """FIRST with the prompt that a checkpoint was trained with.

    Raises:
        InputError: The model is a known checkpoint of another kind, or a number is out of range.
    """
    preset = None if model is None else find_preset(model)
    inner: Mapping[str, Any] = {} if preset is None else preset["strategy"].get("inner", {})
    if preset is not None and inner.get("name") != "single-token":
        raise InputError(
            f"{model!r} was not trained for FIRST",
            hint="Use the generic component, with this model and no strategy: it knows how this "
            "checkpoint ranks.",
        )
    chosen = from_spec("strategies", prompt) if isinstance(prompt, Mapping) else prompt
    chosen = chosen or inner.get("prompt", "first.v1")
    return SlidingWindow(inner=SingleToken(prompt=chosen), size=window, stride=stride)


def choose_strategy(strategy: Any, model: str | None) -> Any:
    """The strategy that was given, or the one of a known checkpoint.

    Raises:
        InputError: There is neither.
    """
    if strategy is not None:
        return strategy
    preset = None if model is None else find_preset(model)
    if preset is None:
        raise InputError(
            f"no strategy was given, and {model!r} is not a known checkpoint",
            hint=f"Give strategy=..., or model= one of: {', '.join(list_presets())}.",
        )
    return preset["strategy"]


def build_backend(
    backend: Any,
    model: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    device: str | None = None,
    token: Callable[[], str | None] | None = None,
) -> AnyBackend:
    """The backend that was given, or the local model's. Nothing is loaded.

    Args:
        backend: A backend, its registered name, or a spec.
        model: Instead of ``backend``: a hub id, a folder or a ``.gguf`` file.
        options: Further arguments of a backend that is built here.
        device: For a backend that is built here.
        token: As ``device``; called when the model is loaded.

    Raises:
        InputError: Both or neither of ``backend`` and ``model``, options for a backend that is
            already built, unknown options, or a secret among them.
        UnknownNameError: No backend of that name.
    """
    if (backend is None) == (model is None):
        raise InputError("give either model= or backend=, and not both")
    extra = dict(options or {}) | ({} if device is None else {"device": device})
    if backend is not None and not isinstance(backend, str | Mapping):
        if extra:
            raise InputError(f"{sorted(extra)} cannot be changed on a backend that is built")
        return backend  # type: ignore[no-any-return]  # checked by Reranker
    if model is not None:
        preset = find_preset(model)
        spec = {"name": "transformers", **(preset["backend"] if preset else {}), "model": model}
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


def find_prompts(strategy: Strategy) -> dict[str, AnyPrompt]:
    """The prompts of a strategy and of those inside it, by their place.

    Examples:
        >>> list(find_prompts(SlidingWindow(inner=SingleToken())))
        ['inner.prompt']
    """
    found: dict[str, AnyPrompt] = {}
    for name, value in _fields(strategy).items():
        if name == "prompt":
            found[name] = load_prompt(value) if isinstance(value, str) else value
        elif is_dataclass(value):
            inside = find_prompts(value)  # type: ignore[arg-type]  # a strategy's parts are strategies
            found |= {f"{name}.{place}": prompt for place, prompt in inside.items()}
    return found


def with_prompt(strategy: Strategy, place: str, prompt: AnyPrompt) -> Strategy:
    """The strategy with another prompt in a place that `find_prompts` named.

    Raises:
        ConfigurationError: The strategy needs a prompt of another kind.
    """
    name, _, rest = place.partition(".")
    new: Any = with_prompt(_fields(strategy)[name], rest, prompt) if rest else prompt
    return replace(strategy, **{name: new})  # type: ignore[type-var]


def _fields(strategy: object) -> dict[str, Any]:
    if not is_dataclass(strategy):
        return {}
    return {f.name: getattr(strategy, f.name) for f in fields(strategy) if f.init}


def _secret_fields(spec: Mapping[str, Any]) -> set[str]:
    name = spec.get("name")
    cls = resolve("backends", name) if isinstance(name, str) else object
    return {f.name for f in fields(cls) if f.metadata.get("secret")} if is_dataclass(cls) else set()


def _number(score: object) -> float | None:
    return None if score is None else float(score)  # type: ignore[arg-type]  # NumPy's too


def _strength(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score


def _order_was_kept(ranking: Ranking) -> bool:
    in_order = ranking.order == tuple(range(len(ranking)))
    return ranking.report.fallback and in_order and ranking.score_kind == "rank"


def _meta(ranking: Ranking, found: Candidates) -> dict[str, Any]:
    report = ranking.report
    return {
        "score_kind": ranking.score_kind,
        "usage": asdict(ranking.usage),
        "fallback": report.fallback,
        "causes": _causes(report),
        "repairs": {
            "malformed": report.malformed,
            "missing": len(report.missing),
            "duplicates": report.duplicates,
            "out_of_range": report.out_of_range,
            "unseen_labels": report.unseen_labels,
            "cut_answers": report.cut_answers,
            "invalid_grades": report.invalid_grades,
        },
        "truncated": len(report.truncated),
        "duplicates_removed": found.duplicates,
    }


def _causes(report: Report) -> list[str]:
    malformed = "the model's answer cannot be read"
    return [*report.fallbacks, *[malformed] * report.malformed]


def _warning(ranking: Ranking, found: Candidates, ignored: bool) -> str:
    said = []
    if causes := _causes(ranking.report):
        more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
        extent = "the order was kept" if _order_was_kept(ranking) else "a part kept its order"
        said.append(f"{extent}: {causes[0]}{more}")
    if empty := sum(not text.strip() for text in found.texts):
        said.append(f"{empty} of {len(found.texts)} passages have no text")
    if ignored:
        said.append("score_threshold is ignored, because these scores only number the places")
    distinct = len(set(found.texts)) > 1 and len(set(ranking.scores)) == 1
    if ranking.score_kind in _COMPARABLE and distinct:
        said.append("the model gave different passages the same score, so it did not rank them")
    return "; ".join(said)
