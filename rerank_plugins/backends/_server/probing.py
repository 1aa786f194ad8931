"""Probing of one server by many callers: one probes, the others wait for the result."""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from ..._drive import adrive, drive
from ..._threads import renewed_by_forks
from ...calls import Call
from ...errors import RerankError
from .capabilities import Server, probe
from .exchange import Request

Kinds = Sequence[type[Call[Any]]]


@dataclass(eq=False, slots=True)
class Probing:
    """Probes one server. For threads and event loops.

    Callers that arrive during a probe wait for it and share its result. They share its failure
    too: if each retried in turn, the last of them would wait very long for a server that is down.
    An event loop waits neither for another loop nor for threads.

    Args:
        server: The server, which keeps what was found.
        sample: Returns a short prompt as token ids; None if prompts are sent as messages.
    """

    server: Server
    sample: Callable[[], Sequence[int] | None]
    _failures: int = 0
    _failure: RerankError | None = None
    _lock: threading.Lock = field(default_factory=lambda: renewed_by_forks(threading.Lock()))
    _on_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = field(
        default_factory=weakref.WeakKeyDictionary
    )

    def probe(self, kinds: Kinds, send: Callable[[Request], Any]) -> None:
        """Find out what the server can do for some kinds of call, unless that is known.

        Raises:
            ConfigurationError: The server does not have the model, or refuses the key.
            CallError: The server failed.
        """
        if self.server.unprobed(kinds):
            before = self._failures
            with self._lock, self._shared(before):
                drive(probe(self.server, kinds, self.sample()), send)

    async def aprobe(self, kinds: Kinds, send: Callable[[Request], Awaitable[Any]]) -> None:
        """`probe`, on an event loop."""
        if self.server.unprobed(kinds):
            before = self._failures
            lock = self._on_loop.setdefault(asyncio.get_running_loop(), asyncio.Lock())
            async with lock:
                with self._shared(before):
                    await adrive(probe(self.server, kinds, self.sample()), send)

    @contextmanager
    def _shared(self, before: int) -> Iterator[None]:
        """Remember a failure inside; raise the last one if there were more than ``before``."""
        if self._failures > before and self._failure is not None:
            raise copy(self._failure)  # each caller raises its own
        try:
            yield
        except RerankError as error:
            self._failures, self._failure = self._failures + 1, copy(error)
            raise
