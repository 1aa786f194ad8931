"""Wrappers around a plan: they see one query, also when other plans share its batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .._drive import Done, advance
from .._loading import present_watch
from ..calls import Batch, Plan, Replies, Reply, Search
from ..errors import BudgetError, CallError, InputError
from ..ranking import Usage

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one ranking's cost. None means no limit.

    Args:
        max_calls: Calls to the model; searches in an index are not counted.
        max_prompt_tokens: Tokens the model may read; checked before each round.
        max_generated_tokens: Tokens the model may write; checked before each round.
        timeout_s: Seconds from the start, those in which a model is loaded included: `warm_up`
            loads it beforehand. A `Reranker` also gives up a round under way, whose backend is
            then left to itself in a thread.

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
            (self.timeout_s, usage.seconds + usage.loading_seconds, "seconds", True),
        )
        for limit, value, unit, spent in checks:
            if limit is not None and (value >= limit if spent else value > limit):
                return f"the limit of {limit:g} {unit} is reached"
        return ""


def metered(plan: Plan[T], clock: Callable[[], float] = time.perf_counter) -> Plan[tuple[T, Usage]]:
    """The plan's result and what it cost.

    ``seconds`` runs from the first call to the result; when plans run side by side, that includes
    waiting for the others. It stands still while a backend loads its model, for this plan or for
    another that it waits for: that is ``loading_seconds``. A plan that is advanced by `step` has
    no such watch, and all its time is in ``seconds``.
    """
    meter = _Meter(clock)
    try:
        state = advance(plan)
        while not isinstance(state, Done):
            replies = yield state
            meter.count(state, replies)
            state = advance(plan, replies)
    finally:
        plan.close()
    return state.value, meter.usage()


def limited(
    plan: Plan[T], limits: Limits, clock: Callable[[], float] = time.perf_counter
) -> Plan[T]:
    """The plan, whose calls beyond ``limits`` are answered by a `BudgetError` instead of asked.

    With `KeepOrder` inside, the ranking ends with the best order found so far.
    """
    meter = _Meter(clock)
    try:
        state = advance(plan)
        while not isinstance(state, Done):
            if reason := limits.exceeded(meter.usage(), _asked(state)):
                replies: Replies = [BudgetError(reason) for _ in state]
            else:
                replies = yield state
                meter.count(state, replies)
            state = advance(plan, replies)
    finally:
        plan.close()
    return state.value


class _Meter:
    """Counts the calls and tokens of one plan."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._start = clock, clock()
        self._loading = present_watch()
        self._loaded = self._loading.seconds
        self._calls = self._searches = self._batches = self._read = self._written = 0

    def count(self, batch: Batch, replies: Replies) -> None:
        calls = _asked(batch)
        self._batches += 1
        self._calls += calls
        self._searches += len(batch) - calls
        for reply in replies:
            if isinstance(reply, Reply | CallError):
                self._read += reply.prompt_tokens
                self._written += reply.generated_tokens

    def usage(self) -> Usage:
        loading = self._loading.seconds - self._loaded
        return Usage(
            calls=self._calls,
            searches=self._searches,
            batches=self._batches,
            prompt_tokens=self._read,
            generated_tokens=self._written,
            seconds=self._clock() - self._start - loading,
            loading_seconds=loading,
        )


def _asked(batch: Batch) -> int:
    """The number of calls for a model: a search is not one."""
    return sum(not isinstance(call, Search) for call in batch)
