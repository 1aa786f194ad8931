"""The strategy of a component, from its arguments and the checkpoint."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from .._checks import at_least
from ..errors import InputError
from ..presets import Named, find_preset
from ..prompts import AnyPrompt, PointwisePrompt, require
from ..ranking import Strategy
from ..registry import from_spec
from ..reranker import Reranker
from ..strategies import (
    BestChunk,
    FullList,
    Groupwise,
    Hybrid,
    Pointwise,
    PointwiseGrade,
    Policy,
    Read,
    SingleToken,
    SlidingWindow,
)

FIRST_MODEL = "castorini/first_mistral"
"""The checkpoint that FIRST components suggest to those who name no model."""

FULL_LIST_MODEL = "liuwenhan/RankMistral100"
"""The checkpoint that full-list components suggest."""

GROUPWISE_MODEL = "AQ-MedAI/Diver-GroupRank-7B"
"""The checkpoint that groupwise components suggest."""

POINTWISE_MODEL = "Qwen/Qwen3-Reranker-0.6B"
"""The checkpoint that pointwise components suggest."""

AnyPromptSpec = str | Mapping[str, Any] | AnyPrompt | None


def first_strategy(
    model: str | None,
    prompt: AnyPromptSpec,
    window: int,
    stride: int,
    policy: Policy = "keep_order",
) -> SlidingWindow:
    """Make FIRST with the prompt that a checkpoint was trained with.

    Raises:
        InputError: The model is a known checkpoint of another kind, or a number is out of range.
    """
    at_least(2, window=window)
    inner = _preset_strategy(model).get("inner", {})
    _require_kind(model, inner or _preset_strategy(model), {"single-token"})
    chosen = _prompt(prompt) or inner.get("prompt", "first.v1")
    return SlidingWindow(
        inner=SingleToken(prompt=chosen, policy=policy), size=window, stride=stride
    )


def usual_policy(named: Named, *, chat: bool) -> Policy:
    """The policy of FIRST for labels that are not reported, where the user gives none.

    A model that was not trained for FIRST and is not in this process may report none of them.

    Args:
        named: The model.
        chat: Whether it is the application's own chat model.
    """
    backend = named.backend if isinstance(named.backend, Mapping) else {}
    foreign = backend.get("name") == "openai" and _preset_strategy(named.model) == {}
    return "generate" if chat or (named.model is not None and foreign) else "keep_order"


def full_list_strategy(
    model: str | None,
    prompt: AnyPromptSpec,
    read: Read,
    top_m: int | None,
    top_k: int | None,
    allow_none: bool = False,
) -> FullList:
    """Make a full list with the prompt that a checkpoint was trained with.

    Without ``top_m``, the model orders as many passages as the component returns.

    Raises:
        InputError: The model is a known checkpoint of another kind, or an argument is wrong.
    """
    known = _preset_strategy(model)
    _require_kind(model, known, {"full-list"})
    trained = known.get("prompt") if read == "written" else None
    wanted = top_k if top_m is None and read != "single-token" else top_m
    chosen = _prompt(prompt) or trained
    return FullList(read=read, prompt=chosen, top_m=wanted, allow_none=allow_none)


def ordering_at_least(reranker: Reranker, top_k: int | None) -> Reranker:
    """The reranker, with a full list that orders at least ``top_k`` passages; all when None."""
    chunks = reranker.strategy
    strategy = chunks.inner if isinstance(chunks, BestChunk) else chunks
    if not isinstance(strategy, FullList) or strategy.top_m is None:
        return reranker
    if top_k is not None and top_k <= strategy.top_m:
        return reranker
    longer: Strategy = replace(strategy, top_m=top_k)
    longer = replace(chunks, inner=longer) if isinstance(chunks, BestChunk) else longer
    return Reranker(longer, reranker.backend, on_error=reranker.on_error, limits=reranker.limits)


def groupwise_strategy(model: str | None, prompt: AnyPromptSpec, **settings: Any) -> Groupwise:
    """Make groupwise grades with the prompt and decoding that a checkpoint was trained with.

    Raises:
        InputError: The model is a known checkpoint of another kind, or an argument is wrong.
    """
    known = dict(_preset_strategy(model))
    _require_kind(model, known, {"groupwise"})
    chosen = {} if prompt is None else {"prompt": _prompt(prompt)}
    built: Groupwise = from_spec("strategies", {**known, "name": "groupwise", **chosen, **settings})
    return built


def pointwise_strategy(
    model: str | None,
    prompt: AnyPromptSpec,
    instruction: str | None = None,
    *,
    expectation: bool = False,
    hybrid: float | None = None,
) -> Strategy:
    """Make pointwise scores of the kind that a checkpoint was trained for, or a prompt asks for.

    Args:
        model: A model; one that is not a known checkpoint is asked for yes or no.
        prompt: A prompt instead of the checkpoint's own.
        instruction: What relevance means.
        expectation: Score by the mean grade (see `PointwiseGrade`).
        hybrid: The first stage's weight; None for the reranker's scores alone, even if the
            checkpoint's own strategy mixes them.

    Raises:
        InputError: The model is a known checkpoint of another kind, or an argument does not fit its
            way of scoring.
    """
    known = dict(_preset_strategy(model))
    if known.get("name") == "hybrid":  # the argument ``hybrid`` decides how much to mix
        known = dict(known["inner"])
    kinds = {"pair-score", "pointwise", "pointwise-grade"}
    _require_kind(model, known, kinds)
    scorer: Strategy
    if known.get("name") == "pair-score" and prompt is None:
        if instruction is not None or expectation:
            raise InputError(
                f"{model!r} reads a query and a passage, so it takes no instruction or expectation"
            )
        scorer = from_spec("strategies", known)
    else:
        scorer = _prompted(
            _prompt(prompt) or known.pop("prompt", "yes-no.v1"), known, instruction, expectation
        )
    return scorer if hybrid is None else Hybrid(scorer, alpha=hybrid)


def top_grade(strategy: object) -> float | None:
    """The highest score of kind ``"grade"`` that a strategy gives; None if that is not known.

    Examples:
        >>> top_grade(Hybrid(PointwiseGrade(prompt="erank.v1"))), top_grade(Groupwise())
        (10.0, 1.0)
    """
    if isinstance(strategy, PointwiseGrade):
        return float(require(strategy.prompt, PointwisePrompt).top_grade or 0) or None
    if isinstance(strategy, Groupwise):
        return 1.0  # the mean grade is divided by the scale
    if not is_dataclass(strategy):
        return None
    found = {top_grade(getattr(strategy, field.name)) for field in fields(strategy)} - {None}
    return found.pop() if len(found) == 1 else None


def _prompted(
    prompt: str | PointwisePrompt,
    known: Mapping[str, Any],
    instruction: str | None,
    expectation: bool,
) -> Strategy:
    """Score by two words or by grades, as the prompt asks."""
    if require(prompt, PointwisePrompt).labels:
        if expectation:
            raise InputError(
                "expectation needs a prompt with grades, and this one asks for one of two words",
                hint='Use prompt="erank.v1", or leave expectation out.',
            )
        return Pointwise(prompt=prompt, instruction=instruction)
    return PointwiseGrade(
        prompt=prompt,
        instruction=instruction,
        expectation=expectation,
        max_tokens=known.get("max_tokens"),
    )


def _preset_strategy(model: str | None) -> Mapping[str, Any]:
    preset = None if model is None else find_preset(model)
    found: Mapping[str, Any] = {} if preset is None else preset["strategy"]
    return found


def _require_kind(model: str | None, known: Mapping[str, Any], kinds: set[str]) -> None:
    if known and known.get("name") not in kinds:
        raise InputError(
            f"{model!r} was trained for another way of ranking ({known.get('name')})",
            hint="Use the generic component, with this model and no strategy: it knows how this "
            "checkpoint ranks.",
        )


def _prompt(prompt: AnyPromptSpec) -> Any:
    return from_spec("strategies", prompt) if isinstance(prompt, Mapping) else prompt
