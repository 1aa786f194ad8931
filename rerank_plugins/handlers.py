"""What a backend is, and how to call one from either colour of code."""

import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from .calls import Batch, Replies
from .errors import BudgetError, ConfigurationError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_let_go: ContextVar[threading.Event | None] = ContextVar("let_go", default=None)


@runtime_checkable
class Backend(Protocol):
    """Answers calls. For type checking only: nothing to subclass.

    A backend may also have ``kinds`` (the frozenset of call kinds it answers, checked when a
    `Reranker` is built), ``warm_up()``, ``close()`` and their twins ``awarm_up()``, ``aclose()``.
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
    """Whether the backend is asynchronous by nature, not through a thread."""
    inner = getattr(backend, "inner", None)
    return isinstance(backend, AsyncBackend) if inner is None else is_async(inner)


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
            job.let_go.set()

    return in_time


def async_handler(
    backend: AnyBackend, timeout_s: float | None = None
) -> Callable[[Batch], Awaitable[Replies]]:
    """The backend's ``arun``, or its ``run`` in a thread so that the loop goes on.

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


async def on_loop(backend: AnyBackend, method: str) -> None:
    """The backend's ``awarm_up`` or ``aclose``, or their synchronous twin in a thread."""
    if hasattr(backend, f"a{method}"):
        await getattr(backend, f"a{method}")()
    elif hasattr(backend, method):
        await off_loop(getattr(backend, method))


async def off_loop(work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread of its own."""
    import asyncio  # imported here: sync users need none

    job = in_thread(work)
    try:
        return await asyncio.wrap_future(job.future)
    finally:
        job.let_go.set()


def abandoned() -> bool:
    """Whether nobody waits any more for what this thread is doing.

    A synchronous backend that takes long asks between two pieces of work, so that a ranking that
    was cancelled or ran out of time does not keep the next one waiting.
    """
    event = _let_go.get()
    return event is not None and event.is_set()


class Job(NamedTuple, Generic[T]):
    """Work in a thread: its result, and the event that says that nobody waits for it."""

    future: "Future[T]"
    let_go: threading.Event


def in_thread(work: Callable[[], T]) -> Job[T]:
    """Start ``work`` in a thread of its own, with the caller's context variables.

    A daemon thread and not an executor's: one that is stuck must not keep the program from
    ending, and many that wait must not use up the threads that others need.
    """
    from concurrent.futures import Future  # imported here: slow, and sync users need none

    future: Future[T] = Future()
    let_go = threading.Event()
    context = contextvars.copy_context()
    context.run(_let_go.set, let_go)

    def target() -> None:
        if not future.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            future.set_exception(error)

    threading.Thread(target=target, name="rerank-plugins", daemon=True).start()
    return Job(future, let_go)


def _late(timeout_s: float, calls: Batch) -> Replies:
    message = f"the limit of {timeout_s:g} seconds is reached"
    return [BudgetError(message) for _ in calls]
