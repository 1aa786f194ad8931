"""A chat model that belongs to the application as a backend, whichever framework it comes from.

A framework's backend adds how one of its models is asked, in both colours.
"""

import threading
from collections.abc import Callable, Collection
from contextlib import nullcontext
from functools import partial
from typing import Any

from ..._threads import NOT_ANSWERED, abandoned, in_threads
from ...calls import Batch, Call, Generate, NextToken, Replies
from ...errors import BackendError, InputError, UnsupportedCallError
from ._conversation import Answer, Asked, Conversation, Known, Question, Said, converse
from ._dialects import Dialect

MAX_CONCURRENCY = 8
"""Calls of one batch that are under way at once, unless told otherwise."""


class ChatModelBackend:
    """What the backends of all frameworks' chat models share. Not a backend by itself.

    Args:
        dialect: The arguments that the model's API takes.
        max_concurrency: Calls of one batch that are under way at once; 1 for a model in this
            process, which then also serves one thread at a time.
        secrets: Gives the texts that errors must not repeat.

    Raises:
        InputError: ``max_concurrency`` is not positive.
    """

    kinds: frozenset[type[Call[Any]]] = frozenset({NextToken, Generate})

    def __init__(
        self,
        dialect: Dialect,
        max_concurrency: int,
        secrets: Callable[[], Collection[str]] = tuple,
    ) -> None:
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise InputError(f"max_concurrency is {max_concurrency!r}, expected at least 1")
        self.max_concurrency = max_concurrency
        self._known = Known(dialect, secrets)
        self._turn = threading.Lock()

    def ask(self, asked: Asked) -> Said:
        """Ask the model. What its client raises is raised."""
        raise NotImplementedError

    async def aask(self, asked: Asked) -> Said:
        """`ask`, without blocking the event loop."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Prepare the model. Safe to repeat."""

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""

    def run(self, calls: Batch) -> Replies:
        """Answer every call, several at once in threads."""
        self.warm_up()
        questions, first = _questions(calls), 0 if self._known.proven else 1
        # What the first answer teaches, the others need not learn.
        replies = [self._answer(call) for call in questions[:first]]
        rest = [partial(self._answer, call) for call in questions[first:]]
        return replies + in_threads(rest, self.max_concurrency)

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        import asyncio  # imported here: sync users need none

        await self.awarm_up()
        questions, first = _questions(calls), 0 if self._known.proven else 1
        limiter = asyncio.Semaphore(self.max_concurrency)

        async def answer(call: Question) -> Answer:
            async with limiter:
                return await self._aanswer(call)

        replies = [await answer(call) for call in questions[:first]]
        return replies + await asyncio.gather(*map(answer, questions[first:]))

    def _in_turn(self, asked: Asked) -> Said:
        """`ask`, one thread at a time where the model is in this process."""
        with self._turn if self.max_concurrency == 1 else nullcontext():
            return self.ask(asked)

    def _answer(self, call: Question) -> Answer:
        talk = converse(call, self._known)
        state = _advance(talk, None)
        while isinstance(state, Asked):
            if abandoned():
                return BackendError(NOT_ANSWERED)
            try:
                said: Said | Exception = self._in_turn(state)
            except Exception as error:  # noqa: BLE001 - somebody else's client may raise anything
                said = error
            state = _advance(talk, said)
        return state

    async def _aanswer(self, call: Question) -> Answer:
        talk = converse(call, self._known)
        state = _advance(talk, None)
        while isinstance(state, Asked):
            try:
                said: Said | Exception = await self.aask(state)
            except Exception as error:  # noqa: BLE001 - somebody else's client may raise anything
                said = error
            state = _advance(talk, said)
        return state


def _questions(calls: Batch) -> list[Question]:
    found = [call for call in calls if isinstance(call, NextToken | Generate)]
    if len(found) < len(calls):
        other = next(call for call in calls if not isinstance(call, NextToken | Generate))
        raise UnsupportedCallError(
            f"a chat model cannot answer {type(other).__name__}",
            hint="Use a strategy that asks for identifiers or for text, or a local model.",
        )
    return found


def _advance(talk: Conversation[Answer], said: Said | Exception | None) -> Asked | Answer:
    try:
        return next(talk) if said is None else talk.send(said)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
