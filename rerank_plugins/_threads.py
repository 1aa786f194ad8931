"""Work in threads, and whether its caller still waits for it."""

import contextvars
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from .errors import BackendError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_let_go: ContextVar[tuple[threading.Event, ...]] = ContextVar("let_go", default=())


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
    return any(event.is_set() for event in _let_go.get())


class Job(NamedTuple, Generic[T]):
    """Work in a thread: its result, and the event that says that nobody waits for it."""

    future: "Future[T]"
    let_go: threading.Event


def in_thread(work: Callable[[], T]) -> Job[T]:
    """Start ``work`` in a thread of its own, with the caller's context variables.

    Whoever lets go of the caller's work lets go of this too.

    A daemon thread and not an executor's: one that is stuck must not keep the program from
    ending, and many that wait must not use up the threads that others need.
    """
    from concurrent.futures import Future  # imported here: slow, and sync users need none

    future: Future[T] = Future()
    let_go = threading.Event()
    context = contextvars.copy_context()
    context.run(_let_go.set, (*_let_go.get(), let_go))

    def target() -> None:
        if not future.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            future.set_exception(error)

    threading.Thread(target=target, name="rerank-plugins", daemon=True).start()
    return Job(future, let_go)


NOT_ANSWERED = "nobody waits for this answer any more"


def in_threads(work: Sequence[Callable[[], T]], at_once: int) -> list[T | BackendError]:
    """The result of each piece of work, in order; an error where nobody waits for it any more.

    Examples:
        >>> in_threads([lambda: 1, lambda: 2], at_once=2)
        [1, 2]
    """
    if at_once == 1 or len(work) < 2:
        return [BackendError(NOT_ANSWERED) if abandoned() else piece() for piece in work]
    slots = threading.Semaphore(at_once)
    jobs: list[Job[T]] = []
    for piece in work:
        slots.acquire()
        if abandoned():
            break
        jobs.append(in_thread(partial(_releasing, piece, slots)))
    left = [BackendError(NOT_ANSWERED) for _ in work[len(jobs) :]]
    return [*(job.future.result() for job in jobs), *left]


def _releasing(piece: Callable[[], T], slots: threading.Semaphore) -> T:
    try:
        return piece()
    finally:
        slots.release()
