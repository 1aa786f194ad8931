"""What a strategy asks about a list: the prompt that trains is the prompt that serves.

A strategy's plan is advanced exactly as it is when it ranks, so nothing about prompts, identifiers,
limits or shortening is written a second time for training.
"""

from collections.abc import Callable
from typing import Any

from ..calls import Batch, Call
from ..errors import InputError, PromptTooLongError
from ..plans import Done, step
from ..ranking import Strategy
from ..text import Passage
from .data import TrainingList

Fits = Callable[[Call[Any]], PromptTooLongError | None]
"""Says whether a call fits the model's context, and by how much it does not."""


def fits_always(_: Call[Any]) -> None:
    """For a context without a limit."""


def questions(
    strategy: Strategy, row: TrainingList, fits: Fits = fits_always
) -> tuple[Call[Any], ...]:
    """The calls by which ``strategy`` would rank a list with a model whose context has its limits.

    Listwise strategies ask one question about the whole list, pointwise ones a question about each
    passage, in the passages' order.

    Args:
        strategy: What is trained.
        row: The list, in the order in which the model is to see it.
        fits: Where it answers with an error, passages are shortened as they are when serving.

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
    """How many passages a call is about."""
    prompt = getattr(call, "prompt", None)
    return 1 if prompt is None else sum(part.kind == "passage" for part in prompt.untrusted)


def _first_round(
    strategy: Strategy, query: str, passages: tuple[str, ...], fits: Fits
) -> list[Call[Any]]:
    """The first batch; a single call is shortened until it fits. Nothing is asked of a model."""
    plan = strategy.rank(query, Passage.all_of(passages))
    try:
        state = step(plan)
        while not isinstance(state, Done):
            asked: Batch = state
            error = fits(asked[0]) if len(asked) == 1 else None
            if error is None:
                return list(asked)
            state = step(plan, [error])
    finally:
        plan.close()
    raise InputError(
        f"{type(strategy).__name__} asks nothing about a list of {len(passages)}",
        hint="Listwise strategies need two passages or more.",
    )
