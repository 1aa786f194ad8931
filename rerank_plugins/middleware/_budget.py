"""Wrappers around a plan: they see one query, also when other plans share its batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .._drive import within
from ..calls import Batch, Plan, Replies, Reply, Search
from ..errors import BudgetError, InputError
from ..ranking import Usage

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one ranking's cost. None means no limit.

    Args:
        max_calls: Calls to the model; searches in an index are not counted.
        max_prompt_tokens: Tokens the model may read; checked before each round.
        max_generated_tokens: Tokens the model may write; checked before each round.
        timeout_s: Seconds from the start. A `Reranker` also gives up a round under way, whose
            backend is then left to itself in a thread.

    Raises:
        InputError: A limit is not positive.
    """

    max_calls: int | None = None
    max_prompt_tokens: int | None = None
    max_generated_tokens: int | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}, expected a positive number or None")

    def exceeded(self, usage: Usage, calls: int) -> str:
        """The limit that ``calls`` more calls would break, or nothing."""
        checks = (
            (self.max_calls, usage.calls + calls, "calls", False),
            (self.max_prompt_tokens, usage.prompt_tokens, "prompt tokens", True),
            (self.max_generated_tokens, usage.generated_tokens, "generated tokens", True),
            (self.timeout_s, usage.seconds, "seconds", True),
        )
        for limit, value, unit, spent in checks:
            if limit is not None and (value >= limit if spent else value > limit):
                return f"the limit of {limit:g} {unit} is reached"
        return ""


def metered(plan: Plan[T], clock: Callable[[], float] = time.perf_counter) -> Plan[tuple[T, Usage]]:
    """The plan's result and what it cost.

    ``seconds`` runs from the first question to the result; when plans run side by side, that
    includes waiting for the others.
    """
    start, usage = clock(), Usage()

    def counted(batch: Batch) -> Plan[Replies]:
        nonlocal usage
        replies = yield batch
        usage += _cost(batch, replies)
        return replies

    value = yield from within(plan, counted)
    return value, usage + Usage(seconds=clock() - start)


def limited(
    plan: Plan[T], limits: Limits, clock: Callable[[], float] = time.perf_counter
) -> Plan[T]:
    """The plan, whose calls beyond ``limits`` are answered by a `BudgetError` instead of asked.

    With `KeepOrder` inside, the ranking ends with the best order found so far.
    """
    start, usage = clock(), Usage()

    def allowed(batch: Batch) -> Plan[Replies]:
        nonlocal usage
        spent = usage + Usage(seconds=clock() - start)
        if reason := limits.exceeded(spent, _asked(batch)):
            return [BudgetError(reason) for _ in batch]
        replies = yield batch
        usage += _cost(batch, replies)
        return replies

    return (yield from within(plan, allowed))


def _cost(batch: Batch, replies: Replies) -> Usage:
    answered = [r for r in replies if isinstance(r, Reply)]
    calls = _asked(batch)
    return Usage(
        calls=calls,
        searches=len(batch) - calls,
        batches=1,
        prompt_tokens=sum(r.prompt_tokens for r in answered),
        generated_tokens=sum(r.generated_tokens for r in answered),
    )


def _asked(batch: Batch) -> int:
    """The number of calls for a model: a search is not one."""
    return sum(not isinstance(call, Search) for call in batch)
