"""Work in threads, which learn when their caller was cancelled or timed out."""

import contextvars
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from .errors import BackendError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_cancelled: ContextVar[tuple[threading.Event, ...]] = ContextVar("cancelled", default=())
"""The events of this thread's caller, of the caller's caller, and so on."""


_renewed: "weakref.WeakSet[Any]" = weakref.WeakSet()


def renewed_by_forks(thing: T) -> T:
    """Return ``thing`` after noting it: a forked process calls its ``_at_fork_reinit()`` first.

    For connections, and for locks, which have this method: a thread that held a lock when the
    process was forked does not exist in the new process, where nobody would release it.
    """
    _renewed.add(thing)
    return thing


def _renew() -> None:
    for thing in list(_renewed):
        thing._at_fork_reinit()


if hasattr(os, "register_at_fork"):  # not on Windows, where processes are not forked
    os.register_at_fork(after_in_child=_renew)


async def off_loop(work: Callable[[], T]) -> T:
    """The result of ``work``, done in its own thread."""
    import asyncio  # imported here: sync users need none

    job = in_thread(work)
    try:
        return await asyncio.wrap_future(job.future)
    finally:
        job.cancelled.set()


def abandoned() -> bool:
    """True when the caller of this thread's work was cancelled or timed out.

    A slow synchronous backend asks between two pieces of work, so that a ranking that was cancelled
    does not keep the next one waiting.
    """
    return any(event.is_set() for event in _cancelled.get())


class Job(NamedTuple, Generic[T]):
    """Work in a thread: its result, and the event to set when the result is not needed any more."""

    future: "Future[T]"
    cancelled: threading.Event


def in_thread(work: Callable[[], T]) -> Job[T]:
    """Start ``work`` in its own thread, with the caller's context variables.

    Cancelling the caller's work cancels this too.

    A daemon thread and not an executor's: a stuck one must not keep the program from ending, and
    many waiting ones must not use up the threads that others need.
    """
    from concurrent.futures import Future  # imported here: slow, and sync users need none

    future: Future[T] = Future()
    cancelled = threading.Event()
    context = contextvars.copy_context()
    context.run(_cancelled.set, (*_cancelled.get(), cancelled))

    def target() -> None:
        if not future.set_running_or_notify_cancel():
            return  # cancelled before it started
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            future.set_exception(error)

    threading.Thread(target=target, name="rerank-plugins", daemon=True).start()
    return Job(future, cancelled)


NOT_ANSWERED = "the ranking was cancelled or timed out before this call was answered"


def in_threads(work: Sequence[Callable[[], T]], at_once: int) -> list[T | BackendError]:
    """The result of each piece of work, in order; an error for what was cancelled before it ran.

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
        job = in_thread(piece)
        job.future.add_done_callback(lambda _: slots.release())
        jobs.append(job)
    left = [BackendError(NOT_ANSWERED) for _ in work[len(jobs) :]]
    return [*(job.future.result() for job in jobs), *left]
