"""Several pieces of work at once, for synchronous callers."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from ..errors import BackendError
from ..handlers import Job, abandoned, in_thread

T = TypeVar("T")

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
