"""Write plans with ``ask`` and ``gather``; run them with ``run``, ``arun`` or ``step``.

A plan is a generator that yields batches of calls and returns a result. Authors need one idea:
read ``answers = yield from ask([...])`` as "ask these, and continue with their answers". Whoever
runs the plan does the asking. The same plan runs against a local model or a server, synchronously
or asynchronously, and side by side with the plans of other queries.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from copy import copy
from typing import TypeVar

from ._drive import Done, adrive, advance, drive
from ._loading import watch_loading
from .calls import ANSWERS, Batch, Call, Plan, Replies, Reply
from .errors import CallError, ContractError

__all__ = [
    "Done",
    "arun",
    "ask",
    "ask_each",
    "ask_replies",
    "gather",
    "run",
    "settle",
    "step",
]

A = TypeVar("A")
T = TypeVar("T")


def ask_replies(calls: Sequence[Call[A]]) -> Plan[list[Reply[A] | CallError]]:
    """Ask everything at once; get whole replies, with their cost, or the error of each."""
    return list((yield calls)) if calls else []


def ask_each(calls: Sequence[Call[A]]) -> Plan[list[A | CallError]]:
    """Ask everything at once. A call that failed is answered by its error."""
    replies = yield from ask_replies(calls)
    return [r if isinstance(r, CallError) else r.answer for r in replies]


def ask(calls: Sequence[Call[A]]) -> Plan[list[A]]:
    """Ask everything at once.

    Raises:
        CallError: The first failure among the replies.
    """
    answers: list[A] = []
    for answer in (yield from ask_each(calls)):
        if isinstance(answer, CallError):
            raise answer
        answers.append(answer)
    return answers


def settle(plan: Plan[T]) -> Plan[T | CallError]:
    """The plan's result, or the failed call that ended it."""
    try:
        return (yield from plan)
    except CallError as error:
        return error


def gather(plans: Sequence[Plan[T]]) -> Plan[list[T]]:
    """Advance plans together: one merged batch per round, results in the order given.

    An error in one plan ends all of them; wrap each in `settle` where one must not.
    """
    try:
        states = [step(plan) for plan in plans]
        while batch := [call for s in states if not isinstance(s, Done) for call in s]:
            replies = yield batch
            start = 0
            for i, state in enumerate(states):
                if not isinstance(state, Done):
                    stop = start + len(state)
                    states[i] = step(plans[i], replies[start:stop])
                    start = stop
    finally:
        for plan in plans:
            plan.close()
    return [state.value for state in states if isinstance(state, Done)]


def step(plan: Plan[T], replies: Replies | None = None) -> Batch | Done[T]:
    """Advance a plan to its next batch of calls or to its result. For those who bring a loop.

    Raises:
        ContractError: ``plan`` is not a plan, or it asked an empty batch.
    """
    if not isinstance(plan, Generator):
        kind = type(plan).__name__
        raise ContractError(f"a {kind} is not a plan: did its function forget to yield?")
    state = advance(plan, replies)
    if not isinstance(state, Done | Sequence):
        raise ContractError(
            f"{plan.__qualname__} asked a {type(state).__name__}, expected a list of calls",
            hint="Yield a list: yield [call].",
        )
    if not isinstance(state, Done) and not state:
        raise ContractError(f"{plan!r} asked an empty batch")
    return state


def run(plan: Plan[T], handle: Callable[[Batch], Replies]) -> T:
    """Run a plan to its result, answering each batch with ``handle``.

    Examples:
        >>> from rerank_plugins.calls import Reply, ScorePair
        >>> def plan():
        ...     return (yield from ask([ScorePair("a", "b")]))
        >>> run(plan(), lambda batch: [Reply(0.5) for _ in batch])
        [0.5]
    """
    with watch_loading():
        return drive(checked(plan), handle)


async def arun(
    plan: Plan[T], handle: Callable[[Batch], Awaitable[Replies]], *, in_threads: bool = False
) -> T:
    """`run`, with an asynchronous ``handle``.

    Args:
        plan: The plan.
        handle: Answers a batch.
        in_threads: Advance the plan in threads: to prepare the prompts of long passages can take
            longer than an event loop may be kept waiting.
    """
    with watch_loading():
        return await adrive(checked(plan), handle, in_threads=in_threads)


def checked(plan: Plan[T]) -> Plan[T]:
    """The plan, with each batch and its replies checked.

    Raises:
        ContractError: The plan or what answers it breaks its contract.
    """
    try:
        state = step(plan)
        while not isinstance(state, Done):
            state = step(plan, _matched(state, (yield state)))
        return state.value
    finally:
        if isinstance(plan, Generator):
            plan.close()


def _matched(batch: Batch, replies: Replies) -> Replies:
    if not isinstance(replies, Sequence):
        raise ContractError(f"a backend returned a {type(replies).__name__}, not replies")
    if len(replies) != len(batch):
        raise ContractError(f"{len(batch)} calls were answered by {len(replies)} replies")
    for call, reply in zip(batch, replies, strict=True):
        found: object = reply.answer if isinstance(reply, Reply) else reply
        expected = CallError if found is reply else ANSWERS.get(type(call), object)
        if not isinstance(found, expected):
            raise ContractError(f"a {type(call).__name__} was answered by a {type(found).__name__}")
    # Copied, because one error may answer the calls of several plans: each raises its own.
    return [copy(reply) if isinstance(reply, CallError) else reply for reply in replies]
