"""The questions a strategy asks about a list: the prompt that trains is the prompt that serves.

A strategy's plan is advanced exactly as it is when it ranks, so nothing about prompts, identifiers,
limits or shortening is written a second time for training.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..calls import Batch, Call
from ..errors import InputError, PromptTooLongError
from ..plans import Done, step
from ..prompts import load_prompt
from ..ranking import Strategy
from ..registry import from_spec
from ..strategies import Groupwise
from ..text import Passage
from .data import TrainingList

Fits = Callable[[Call[Any]], PromptTooLongError | None]
"""Tells by how many tokens a call exceeds the model's context; None where it fits."""


def strategy_of(given: Strategy | str | Mapping[str, Any]) -> Strategy:
    """The strategy of a name or a spec, with whole prompts in place of the user's prompt files.

    What is trained must rank without those files.
    """
    if isinstance(given, str | Mapping):
        made: Strategy = from_spec("strategies", given)
        return strategy_of(made)
    changes: dict[str, Any] = {}
    prompt, inner = (getattr(given, name, None) for name in ("prompt", "inner"))
    if str(prompt).endswith(".toml"):
        changes["prompt"] = load_prompt(str(prompt))
    if inner is not None:
        changes["inner"] = strategy_of(inner)
    changed: Strategy = replace(given, **changes) if changes else given  # type: ignore[type-var]  # a dataclass
    return changed


def innermost(strategy: Strategy) -> Strategy:
    """The strategy that makes the prompt, inside schedules and combinations."""
    inner = getattr(strategy, "inner", None)
    return strategy if inner is None else innermost(inner)


def questions(
    strategy: Strategy, row: TrainingList, fits: Fits | None = None
) -> tuple[Call[Any], ...]:
    """The calls by which ``strategy`` would rank a list with a model that has a limited context.

    Listwise strategies ask one question about the whole list, pointwise ones a question about each
    passage, in the passages' order. The groups of `Groupwise` do not overlap within a list.

    Args:
        strategy: The strategy to train for.
        row: The list, in the order in which the model should see it.
        fits: Where it returns an error, passages are shortened as they are when serving. None for
            a context without a limit.

    Raises:
        InputError: The strategy asks about this list in several rounds (it is longer than a
            window), or asks nothing, or asks different kinds of questions.

    Examples:
        >>> from rerank_plugins.strategies import SingleToken
        >>> row = TrainingList("flea", ("a dog", "a flea"), (0, 1))
        >>> [call] = questions(SingleToken(), row)
        >>> call.labels
        ('A', 'B')
    """
    if isinstance(strategy, Groupwise):
        strategy = replace(strategy, interval=strategy.size, repeats=1)
    first = _first_round(strategy, row.query, row.passages, fits)
    if len(first) == len(row) > 1:  # one by one: each may have to be shortened on its own
        alone = [_first_round(strategy, row.query, (p,), fits) for p in row.passages]
        first = [call for calls in alone for call in calls]
    kinds = {type(call) for call in first}
    if len(kinds) != 1 or sum(map(_passages, first)) != len(row):
        raise InputError(
            f"{type(strategy).__name__} does not ask about each of {len(row)} passages once",
            hint="Train with lists that fit into one window, and with a strategy that asks once.",
        )
    return tuple(first)


def _passages(call: Call[Any]) -> int:
    """The number of passages that a call is about."""
    prompt = getattr(call, "prompt", None)
    return 1 if prompt is None else sum(part.kind == "passage" for part in prompt.untrusted)


def _first_round(
    strategy: Strategy, query: str, passages: tuple[str, ...], fits: Fits | None
) -> list[Call[Any]]:
    """The first batch of a plan; a single call is shortened until it fits. No model is asked."""
    plan = strategy.rank(query, Passage.all_of(passages))
    try:
        state = step(plan)
        while not isinstance(state, Done):
            asked: Batch = state
            error = fits(asked[0]) if fits and len(asked) == 1 else None
            if error is None:
                return list(asked)
            state = step(plan, [error])
    finally:
        plan.close()
    raise InputError(
        f"{type(strategy).__name__} asks nothing about a list of {len(passages)}",
        hint="Listwise strategies need two passages or more.",
    )
