"""One backend made of several equal ones: servers of one model, or copies on several devices."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..._copies import CopiedByArguments
from ..._threads import abandoned, in_thread
from ...calls import Batch, Call, Replies, Reply
from ...errors import CallError, InputError
from ...handlers import (
    AnyBackend,
    AsyncBackend,
    Backend,
    OwnedBackends,
    async_handler,
    lifecycle,
    on_loop,
    sync_handler,
)
from .pool import Part, Pool, Server

Tried = tuple[Server, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Balanced(CopiedByArguments, OwnedBackends):
    """Spreads calls over backends of the same model: each goes where the fewest are under way.

    A backend that cannot be reached, raises, or answers with a retryable `CallError` is unhealthy:
    it gets no calls during a cooldown, and its failed calls are asked again elsewhere, each at most
    once of every backend. After the cooldown one call is the probe; if it fails, the next cooldown
    is twice as long. If all are unhealthy, the one whose cooldown ends first is asked nevertheless.
    An error that is an answer (`PromptTooLongError`) does not make a backend unhealthy, and a wrong
    set-up is raised. Retries multiply: each backend first uses up its own ``attempts``.

    Equal calls of a batch go to the same backend, so that they get the same rounding.

    Args:
        backends: The backends, at least one. All must serve the same model, which is not checked.
        cooldown_s: The first cooldown of an unhealthy backend, in seconds. A longer
            ``retry_after_s`` of its own is obeyed, up to a minute.
        max_cooldown_s: The longest cooldown that doubling leads to, in seconds.

    Raises:
        InputError: ``backends`` is empty or names one twice, or a cooldown is out of range.

    Examples:
        >>> from rerank_plugins import BackendError
        >>> from rerank_plugins.calls import ScorePair
        >>> from rerank_plugins.testing import Failing, Oracle
        >>> down = Failing(lambda: BackendError("down", retryable=True))
        >>> calls = [ScorePair("q", "a"), ScorePair("q", "b")]
        >>> Balanced([down, Oracle()]).run(calls) == Oracle().run(calls)
        True
    """

    backends: Sequence[AnyBackend] = field(kw_only=False)
    cooldown_s: float = 1.0
    max_cooldown_s: float = 60.0
    _pool: Pool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.cooldown_s <= self.max_cooldown_s:
            raise InputError(
                f"cooldown_s is {self.cooldown_s} and max_cooldown_s {self.max_cooldown_s}",
                hint="Give seconds above 0, the second not below the first.",
            )
        given: object = self.backends
        if not isinstance(given, Sequence) or not given:
            raise InputError(f"backends is {given!r:.80}", hint="Give a list of at least one.")
        for i, backend in enumerate(given):
            if isinstance(backend, type) or not isinstance(backend, Backend | AsyncBackend):
                raise InputError(
                    f"backends[{i}] is {backend!r:.80}, which is not a backend",
                    hint="It needs run(calls) or arun(calls).",
                )
            if any(backend is other for other in given[:i]):
                raise InputError(f"backends[{i}] is given twice")
        object.__setattr__(self, "backends", tuple(self.backends))
        pool = Pool(self.backends, self.cooldown_s, self.max_cooldown_s)
        object.__setattr__(self, "_pool", pool)

    @property
    def members(self) -> tuple[AnyBackend, ...]:
        """Every backend inside."""
        return tuple(self.backends)

    @property
    def kinds(self) -> frozenset[type[Call[Any]]] | None:
        """The kinds of call that every backend answers; None if one does not declare its kinds."""
        declared = [getattr(backend, "kinds", None) for backend in self.backends]
        known = [frozenset(kinds) for kinds in declared if kinds is not None]
        return frozenset.intersection(*known) if len(known) == len(declared) else None

    def run(self, calls: Batch) -> Replies:
        """Answer a batch, by all backends at the same time."""
        return self._run(calls, ())

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return await self._arun(calls, ())

    def warm_up(self) -> None:
        """Warm up all backends. One that fails is unhealthy from now on. Safe to repeat.

        Raises:
            ConfigurationError: The set-up of one is wrong.
            CallError: All failed; the first one's failure.
        """
        errors: list[Exception] = []
        for server in self._pool.servers:
            with self._pool.warming(server, errors):
                lifecycle(server.backend, "warm_up")
        _raise_if_all(errors, len(self.backends))

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""
        errors: list[Exception] = []
        for server in self._pool.servers:
            with self._pool.warming(server, errors):
                await on_loop(server.backend, "warm_up")
        _raise_if_all(errors, len(self.backends))

    def _run(self, calls: Batch, tried: Tried) -> Replies:
        with self._pool.parts(calls, tried) as parts:
            jobs = [in_thread(partial(self._ask, part, tried)) for part in parts[1:]]
            try:
                found = [self._ask(part, tried) for part in parts[:1]]
                found += [job.future.result() for job in jobs]
            finally:
                for job in jobs:
                    job.cancelled.set()
        return _in_order(parts, found)

    async def _arun(self, calls: Batch, tried: Tried) -> Replies:
        import asyncio  # imported here: sync users need none

        with self._pool.parts(calls, tried) as parts:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._aask(part, tried)) for part in parts]
            except ExceptionGroup as errors:  # a wrong set-up: the other parts were cancelled
                raise errors.exceptions[0] from None
        return _in_order(parts, [task.result() for task in tasks])

    def _ask(self, part: Part, tried: Tried) -> Replies:
        with self._pool.asking(part):
            part.replies = [*sync_handler(part.server.backend)(part.calls)]
        tried = (*tried, part.server)
        if part.failed and len(tried) < len(self.backends) and not abandoned():
            part.mend(self._run(part.failed_calls, tried))
        return part.replies

    async def _aask(self, part: Part, tried: Tried) -> Replies:
        with self._pool.asking(part):
            part.replies = [*await async_handler(part.server.backend)(part.calls)]
        tried = (*tried, part.server)
        if part.failed and len(tried) < len(self.backends):
            part.mend(await self._arun(part.failed_calls, tried))
        return part.replies


def _in_order(parts: Sequence[Part], found: Sequence[Replies]) -> Replies:
    """The replies of all parts, in the places of their calls."""
    replies: dict[int, Reply[Any] | CallError] = {}
    for part, answers in zip(parts, found, strict=True):
        replies.update(zip(part.where, answers, strict=True))
    return [replies[i] for i in range(len(replies))]


def _raise_if_all(errors: Sequence[Exception], n: int) -> None:
    if len(errors) == n:
        raise errors[0]
