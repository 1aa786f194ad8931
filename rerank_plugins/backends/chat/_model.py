"""The base of backends that ask the application's own chat model, of any framework.

A framework's subclass adds `ask`, and `aask` if its models can be awaited.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import nullcontext
from functools import partial
from typing import Any

from ..._checks import at_least
from ..._copies import CopiedByArguments
from ..._drive import adrive, drive
from ..._loading import loading
from ..._threads import NOT_ANSWERED, abandoned, in_threads, off_loop, renewed_by_forks
from ...calls import Batch, Call, Generate, NextToken, Replies
from ...errors import BackendError, UnsupportedCallError
from ._conversation import Answer, Asked, Known, Question, Said, converse
from ._dialects import Dialect

MAX_CONCURRENCY = 8
"""Default number of concurrent calls of one batch."""


class ChatModelBackend(CopiedByArguments, ABC):
    """Base class of the backends for frameworks' chat models. Not a backend by itself.

    A subclass gives its constructor's arguments in ``_arguments``: it is copied and pickled by
    them.

    Args:
        dialect: The arguments that the model's API takes.
        max_concurrency: Maximum number of concurrent calls of one batch; 1 for a model in this
            process, which then also serves one thread at a time.
        secrets: Returns the texts that errors must not repeat.

    Raises:
        InputError: ``max_concurrency`` is not a positive whole number.
    """

    kinds: frozenset[type[Call[Any]]] = frozenset({NextToken, Generate})

    def __init__(
        self,
        dialect: Dialect,
        max_concurrency: int,
        secrets: Callable[[], Collection[str]] = tuple,
    ) -> None:
        at_least(1, max_concurrency=max_concurrency)
        self.max_concurrency = max_concurrency
        self._known = Known(dialect, secrets)
        self._turn = renewed_by_forks(threading.Lock())

    @abstractmethod
    def ask(self, asked: Asked) -> Said:
        """Ask the model. Exceptions of its client are raised."""

    async def aask(self, asked: Asked) -> Said:
        """`ask`, without blocking the event loop: in a thread, unless a subclass can await."""
        return await off_loop(lambda: self._in_turn(asked))

    def warm_up(self) -> None:
        """Prepare the model. Safe to repeat."""

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""

    def run(self, calls: Batch) -> Replies:
        """Answer every call, several at once in threads."""
        with loading():
            self.warm_up()
        first, rest = self._divided(calls)
        replies = [self._answer(call) for call in first]
        pieces = [partial(self._answer, call) for call in rest]
        return replies + in_threads(pieces, self.max_concurrency)

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        import asyncio  # imported here: sync users need none

        with loading():
            await self.awarm_up()
        first, rest = self._divided(calls)
        limiter = asyncio.Semaphore(self.max_concurrency)

        async def reply(asked: Asked) -> Said | Exception:
            try:
                return await self.aask(asked)
            except Exception as error:  # noqa: BLE001 - a client may raise anything
                return error

        async def answer(call: Question) -> Answer:
            async with limiter:
                return await adrive(converse(call, self._known), reply)

        replies = [await answer(call) for call in first]
        return replies + await asyncio.gather(*map(answer, rest))

    def _divided(self, calls: Batch) -> tuple[list[Question], list[Question]]:
        """The first question to a model that has not answered yet, and all others.

        What its answer shows about the model need not be found out again by the others.
        """
        questions = [call for call in calls if isinstance(call, NextToken | Generate)]
        if len(questions) < len(calls):
            other = next(call for call in calls if not isinstance(call, NextToken | Generate))
            raise UnsupportedCallError(
                f"a chat model cannot answer {type(other).__name__}",
                hint="Use a strategy that asks for identifiers or for text, or a local model.",
            )
        first = 0 if self._known.proven else 1
        return questions[:first], questions[first:]

    def _in_turn(self, asked: Asked) -> Said:
        """`ask`, one thread at a time if the model is in this process."""
        with self._turn if self.max_concurrency == 1 else nullcontext():
            return self.ask(asked)

    def _answer(self, call: Question) -> Answer:
        return drive(converse(call, self._known), self._reply)

    def _reply(self, asked: Asked) -> Said | Exception:
        if abandoned():
            return BackendError(NOT_ANSWERED)
        try:
            return self._in_turn(asked)
        except Exception as error:  # noqa: BLE001 - a client may raise anything
            return error
