"""What a server can do, asked by one at a time: who waits meanwhile shares what comes of it."""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...calls import Call
from ...errors import BackendError, CallError, RerankError
from .capabilities import Server, learn
from .exchange import Request, aconverse, converse

Kinds = Sequence[type[Call[Any]]]
Probe = Callable[[], Sequence[int] | None]


@dataclass(eq=False, slots=True)
class Learning:
    """Learns about one server. For threads and event loops.

    Whoever comes while it is being asked waits, and then knows too. Where that failed, those who
    waited get the failure: a server that is down would keep the last of them waiting for ever if
    each tried in turn. A loop waits neither for another loop nor for threads.

    Args:
        server: Where what is learnt is kept.
        probe: Gives a short prompt as token ids; None where prompts go as messages.
    """

    server: Server
    probe: Probe
    _failures: int = 0
    _failure: RerankError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _on_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = field(
        default_factory=weakref.WeakKeyDictionary
    )

    def learn(self, kinds: Kinds, send: Callable[[Request], Any]) -> None:
        """Learn what the server can do about some kinds of call, unless it is known.

        Raises:
            ConfigurationError: The server has no such model, or refuses the key.
            CallError: The server failed.
        """
        if self.server.unknown(kinds):
            before = self._failures
            with self._lock, self._shared(before):
                converse(learn(self.server, kinds, self.probe()), send)

    async def alearn(self, kinds: Kinds, send: Callable[[Request], Awaitable[Any]]) -> None:
        """`learn`, on an event loop."""
        if self.server.unknown(kinds):
            before = self._failures
            lock = self._on_loop.setdefault(asyncio.get_running_loop(), asyncio.Lock())
            async with lock:
                with self._shared(before):
                    await aconverse(learn(self.server, kinds, self.probe()), send)

    @contextmanager
    def _shared(self, before: int) -> Iterator[None]:
        """Keep the failure of what is inside; raise one that came since there were ``before``."""
        if self._failures > before and self._failure is not None:
            raise _again(self._failure)
        try:
            yield
        except RerankError as error:
            self._failures, self._failure = self._failures + 1, error
            raise


def _again(error: RerankError) -> RerankError:
    """The error for another ranking, which may note in it what it knows."""
    if not isinstance(error, CallError):
        return error
    found = BackendError(str(error), retryable=error.retryable, retry_after_s=error.retry_after_s)
    found.__cause__ = error
    return found
