"""The protocol of backends, and how to call one from synchronous and asynchronous code."""

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from ._threads import in_thread, off_loop
from .calls import Batch, Replies
from .errors import BackendError, BudgetError, CallError, ConfigurationError, RerankError

LONGEST_WAIT_S = 60.0
"""The longest wait, in seconds, that a server may ask for with ``Retry-After``.

This is the policy of every backend and layer. The header holds seconds or a date; a negative number
and a past date mean at once; anything else, and what is not finite, counts as no header. The time
is obeyed where it is longer than the own pause. A call whose server asks for more than this is not
repeated: its error, with the time that was asked for, is the answer. `Balanced` asks its other
backends then, and this one again after this time.
"""


def requested_wait_s(answer: object) -> float:
    """The seconds that a server asked to wait before the next attempt; 0 if it did not."""
    return (answer.retry_after_s or 0.0) if isinstance(answer, CallError) else 0.0


@runtime_checkable
class Backend(Protocol):
    """Answers calls. For type checking only: nothing to subclass.

    A backend may also have ``kinds`` (the frozenset of call kinds it answers, checked when a
    `Reranker` is built), ``warm_up()``, ``close()`` and their twins ``awarm_up()``, ``aclose()``.
    A backend that is made of others names them: ``inner`` if it wraps one, ``members`` (a tuple)
    if it holds several. `OwnedBackends` passes the life cycle on to them.
    """

    def run(self, calls: Batch) -> Replies:
        """Answer every call, in order.

        A batch says what *may* run together; chunking and concurrency are the backend's. One
        call in trouble is answered by a `CallError` in its place; anything else is raised.
        """
        ...


@runtime_checkable
class AsyncBackend(Protocol):
    """Answers calls on an event loop. A backend may have ``run``, ``arun`` or both."""

    async def arun(self, calls: Batch) -> Replies:
        """`Backend.run`, asynchronously. Never blocks the loop."""
        ...


AnyBackend = Backend | AsyncBackend


def is_async(backend: AnyBackend) -> bool:
    """True when the backend is asynchronous by nature, not through a thread.

    A backend that is made of others (see `Backend`) is asynchronous if all of them are: a server
    beside a local model needs the local model's thread and its common batches.
    """
    inner = getattr(backend, "inner", None)
    members: tuple[AnyBackend, ...] = getattr(backend, "members", () if inner is None else (inner,))
    return isinstance(backend, AsyncBackend) and all(map(is_async, members))


def sync_handler(backend: AnyBackend, timeout_s: float | None = None) -> Callable[[Batch], Replies]:
    """The backend's ``run``.

    Args:
        backend: The backend.
        timeout_s: Seconds from now after which calls are answered by a `BudgetError`, also
            those under way: the backend is then left to itself in a thread.

    Raises:
        ConfigurationError: It has none. (No event loop is started behind the caller's back:
            that breaks in notebooks and servers.)
    """
    if not isinstance(backend, Backend):
        raise ConfigurationError(
            f"{type(backend).__name__} is asynchronous only",
            hint="Use arank or arank_many, or a backend that has run.",
        )
    answer = backend.run
    if timeout_s is None:
        return answer
    ends = time.monotonic() + timeout_s

    def in_time(calls: Batch) -> Replies:
        job = in_thread(lambda: answer(calls))
        try:
            return job.future.result(max(0.0, ends - time.monotonic()))
        except TimeoutError:
            if job.future.done():
                raise  # the backend's own
            return _late(timeout_s, calls)
        finally:
            job.cancelled.set()

    return in_time


def async_handler(
    backend: AnyBackend, timeout_s: float | None = None
) -> Callable[[Batch], Awaitable[Replies]]:
    """The backend's ``arun``, or its ``run`` in a thread so that the loop is not blocked.

    Arguments as for `sync_handler`; calls under way are cancelled where the backend is
    asynchronous.
    """
    import asyncio  # imported here: half of the library's import time, and sync users need none

    if isinstance(backend, AsyncBackend):
        answer = backend.arun
    else:
        run = backend.run

        async def answer(calls: Batch) -> Replies:
            return await off_loop(lambda: run(calls))

    if timeout_s is None:
        return answer
    ends = time.monotonic() + timeout_s

    async def in_time(calls: Batch) -> Replies:
        scope = asyncio.timeout(max(0.0, ends - time.monotonic()))
        try:
            async with scope:
                return await answer(calls)
        except TimeoutError:
            if not scope.expired():
                raise  # the backend's own
            return _late(timeout_s, calls)

    return in_time


def lifecycle(backend: AnyBackend, method: str) -> None:
    """Call the backend's ``warm_up`` or ``close``, if it has one."""
    if hasattr(backend, method):
        getattr(backend, method)()


async def on_loop(backend: AnyBackend, method: str) -> None:
    """Call the backend's ``awarm_up`` or ``aclose``, or the synchronous method in a thread."""
    if hasattr(backend, f"a{method}"):
        await getattr(backend, f"a{method}")()
    elif hasattr(backend, method):
        await off_loop(getattr(backend, method))


class OwnedBackends(ABC):
    """The life cycle of a backend that is made of others: passed on to each of them."""

    @property
    @abstractmethod
    def members(self) -> tuple[AnyBackend, ...]:
        """Every backend inside, once."""

    def warm_up(self) -> None:
        """Warm up every backend inside. Safe to repeat."""
        for backend in self.members:
            lifecycle(backend, "warm_up")

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""
        for backend in self.members:
            await on_loop(backend, "warm_up")

    def close(self) -> None:
        """Close every backend inside. Safe to repeat."""
        for backend in self.members:
            lifecycle(backend, "close")

    async def aclose(self) -> None:
        """`close`, without blocking the event loop."""
        for backend in self.members:
            await on_loop(backend, "close")


def failure(error: Exception) -> CallError:
    """The answer to a call whose backend raised ``error``.

    Raises:
        RerankError: ``error`` itself, where it says that the set-up, a piece of code or the
            caller's arguments are wrong: every call would fail.

    Examples:
        >>> failure(TimeoutError("slow"))
        BackendError('the backend raised TimeoutError: slow')
    """
    if isinstance(error, CallError):
        return error
    if isinstance(error, RerankError):
        raise error
    found = BackendError(
        f"the backend raised {type(error).__name__}: {error}",
        retryable=isinstance(error, ConnectionError | TimeoutError),
    )
    found.__cause__ = error
    return found


def _late(timeout_s: float, calls: Batch) -> Replies:
    message = f"the limit of {timeout_s:g} seconds is reached"
    return [BudgetError(message) for _ in calls]
