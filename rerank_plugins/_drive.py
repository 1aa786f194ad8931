"""The one driver of generators that ask questions.

A *talk* is a generator that yields questions, is sent their answers, and returns a result: a plan
yields batches of calls, an exchange yields requests to a server, a conversation yields what a chat
model is asked. It does no I/O, so one text serves synchronous and asynchronous code. `drive` and
`adrive` run one, `within` runs one inside another.
"""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from ._threads import off_loop

Q = TypeVar("Q")
A = TypeVar("A")
T = TypeVar("T")
Q2 = TypeVar("Q2")
A2 = TypeVar("A2")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A talk's result."""

    value: T


def advance(talk: Generator[Q, A, T], answer: Any = None) -> Q | Done[T]:
    """Send an answer (None at the start) and get the next question, or the result as `Done`."""
    # Around the generator and nothing else: an answer may raise StopIteration too.
    try:
        return talk.send(answer)
    except StopIteration as stop:
        return Done(stop.value)


def drive(talk: Generator[Q, A, T], answer: Callable[[Q], A]) -> T:
    """Run a talk to its result, answering each question with ``answer``."""
    try:
        state = advance(talk)
        while not isinstance(state, Done):
            state = advance(talk, answer(state))
        return state.value
    finally:
        talk.close()


async def adrive(
    talk: Generator[Q, A, T], answer: Callable[[Q], Awaitable[A]], *, in_threads: bool = False
) -> T:
    """`drive`, on an event loop.

    Args:
        talk: The generator.
        answer: Answers a question.
        in_threads: Advance the generator in threads, where what it does between two questions may
            take longer than an event loop can be kept waiting.
    """
    step = off_loop if in_threads else _here
    try:
        state = await step(partial(advance, talk))
        while not isinstance(state, Done):
            found = await answer(state)
            state = await step(partial(advance, talk, found))
        return state.value
    finally:
        # One that still advances in its thread after its caller was cancelled is closed when the
        # thread drops it.
        if not getattr(talk, "gi_running", False):
            talk.close()


def within(
    talk: Generator[Q, A, T], answer: Callable[[Q], Generator[Q2, A2, A]]
) -> Generator[Q2, A2, T]:
    """Run a talk inside another: ``answer`` may ask questions of its own for each."""
    try:
        state = advance(talk)
        while not isinstance(state, Done):
            found = yield from answer(state)
            state = advance(talk, found)
        return state.value
    finally:
        talk.close()


async def _here(work: Callable[[], T]) -> T:
    return work()
