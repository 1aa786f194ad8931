"""Plans run against a backend: one or many, sync or async, within limits, their cost counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ._checks import at_least
from .calls import Plan
from .errors import CallError
from .handlers import AnyBackend, async_handler, is_async, sync_handler
from .middleware import Limits, limited, metered
from .plans import arun, gather, run, settle
from .ranking import Usage

T = TypeVar("T")

ASYNC_QUERIES = 16
"""How many plans `Runner.asettle_many` has under way at once, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs the plans of an application's object: a reranker, a search with feedback.

    Args:
        backend: What answers.
        limits: What one plan may cost.
    """

    backend: AnyBackend
    limits: Limits | None = None

    def counted(self, plan: Plan[T]) -> Plan[tuple[T, Usage]]:
        """The plan within the limits, with what it cost beside its result."""
        return metered(plan if self.limits is None else limited(plan, self.limits))

    def run(self, plan: Plan[T]) -> T:
        """The plan's result.

        Raises:
            CallError: A call failed and the plan did not catch it.
        """
        return run(plan, sync_handler(self.backend, self._timeout_s))

    async def arun(self, plan: Plan[T]) -> T:
        """`run`, without blocking the event loop."""
        handle = async_handler(self.backend, self._timeout_s)
        return await arun(plan, handle, in_threads=True)

    def settle_many(self, plans: Sequence[Plan[T]]) -> list[T | CallError]:
        """The result of each plan, or its failed call. The backend gets common batches."""
        return self.run(gather([settle(plan) for plan in plans]))

    async def asettle_many(
        self, plans: Sequence[Plan[T]], max_concurrency: int = ASYNC_QUERIES
    ) -> list[T | CallError]:
        """`settle_many`, without blocking the event loop.

        An asynchronous backend gets one task a plan, so that none waits for another's slowest
        call. A synchronous one gets common batches, in one thread.

        Args:
            plans: The plans.
            max_concurrency: How many are under way at once on an asynchronous backend.

        Raises:
            InputError: ``max_concurrency`` is not positive.
        """
        at_least(1, max_concurrency=max_concurrency)
        settled = [settle(plan) for plan in plans]
        if not is_async(self.backend):
            return await self.arun(gather(settled))
        import asyncio  # imported here: sync users need none

        slots = asyncio.Semaphore(max_concurrency)

        async def one(plan: Plan[T | CallError]) -> T | CallError:
            async with slots:
                return await self.arun(plan)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(plan)) for plan in settled]
        except ExceptionGroup as errors:  # a wrong set-up: the same for every plan
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    @property
    def _timeout_s(self) -> float | None:
        return self.limits.timeout_s if self.limits else None


def results_of(settled: Sequence[T | CallError]) -> list[T]:
    """The results of plans that ran together.

    Raises:
        CallError: One of them failed: the first.
    """
    found: list[T] = []
    for result in settled:
        if isinstance(result, CallError):
            raise result
        found.append(result)
    return found
