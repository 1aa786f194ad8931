"""The choice among several equal backends: load, health and recovery."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

from ..._threads import renewed_by_forks
from ...calls import Batch, Call, Replies, Reply, with_cost
from ...errors import CallError, ContractError
from ...handlers import LONGEST_WAIT_S, AnyBackend, failure, requested_wait_s

How = Literal["as usual", "probe", "last resort"]
"""Why a server is asked: it is healthy, its cooldown is over, or no other is left."""


@dataclass(eq=False, slots=True)
class Server:
    """A backend with its load and its health. Changed only by its `Pool`.

    Attributes:
        backend: The backend.
        under_way: Number of calls that it has not answered yet.
        asked: Number of calls so far: among equal loads the server with the fewest is next.
        cooldown_s: Length of its present cooldown in seconds; 0 while it is healthy.
        cooldown_ends: End of that cooldown on the monotonic clock.
        probing: True while the call that decides about its health is under way.
    """

    backend: AnyBackend
    under_way: int = 0
    asked: int = 0
    cooldown_s: float = 0.0
    cooldown_ends: float = 0.0
    probing: bool = False

    def ready(self, now: float) -> bool:
        """Whether it may be asked: it is healthy, or due for a probe."""
        return not self.cooldown_s or (now >= self.cooldown_ends and not self.probing)


@dataclass(eq=False, slots=True)
class Part:
    """The calls of a batch that one server gets.

    Attributes:
        server: The server.
        how: Why it is asked.
        where: The calls' places in the batch.
        calls: The calls, aligned with ``where``.
        replies: Their replies, aligned, once they have arrived.
        failed: Indices into ``calls`` of those that another server may answer better.
        ended: True once the part no longer counts as under way.
    """

    server: Server
    how: How
    where: list[int] = field(default_factory=list)
    calls: list[Call[Any]] = field(default_factory=list)
    replies: list[Reply[Any] | CallError] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def failed_calls(self) -> list[Call[Any]]:
        """The calls to ask again elsewhere."""
        return [self.calls[i] for i in self.failed]

    def mend(self, replies: Replies) -> None:
        """Replace the failed replies by another server's, at the cost of both."""
        for i, reply in zip(self.failed, replies, strict=True):
            failed = self.replies[i]
            self.replies[i] = with_cost(reply, failed.prompt_tokens, failed.generated_tokens)


class Pool:
    """The servers, and the lock that guards their state. For threads and event loops.

    Args:
        backends: The backends.
        cooldown_s: The first cooldown of an unhealthy one, in seconds.
        max_cooldown_s: The longest cooldown that doubling leads to, in seconds.
    """

    def __init__(
        self, backends: Sequence[AnyBackend], cooldown_s: float, max_cooldown_s: float
    ) -> None:
        self.servers = tuple(map(Server, backends))
        self._cooldown_s, self._max_cooldown_s = cooldown_s, max_cooldown_s
        # held for moments only, so an event loop may take it
        self._lock = renewed_by_forks(threading.Lock())

    @contextmanager
    def parts(self, calls: Batch, tried: Sequence[Server]) -> Iterator[list[Part]]:
        """Divide a batch into parts for servers not yet ``tried``.

        The calls count as under way until they are answered, or this context ends: also those of
        a task that is cancelled before its first step.
        """
        places: dict[Call[Any], list[int]] = {}  # equal calls go together
        for i, call in enumerate(calls):
            places.setdefault(call, []).append(i)
        parts: dict[Server, Part] = {}
        with self._lock:
            now = monotonic()
            for call, where in places.items():
                server, how = self._next(tried, now)
                part = parts.setdefault(server, Part(server, how))
                part.calls += [call] * len(where)
                part.where += where
                server.under_way += len(where)
                server.asked += len(where)
        try:
            yield list(parts.values())
        finally:
            with self._lock:
                for part in parts.values():
                    _end(part)

    @contextmanager
    def asking(self, part: Part) -> Iterator[None]:
        """Fill ``part.replies`` inside: exceptions become replies, and the server is judged.

        Raises:
            RerankError: The set-up, a piece of code or an argument is wrong (see `failure`).
        """
        try:
            yield
            _check(part)
        except Exception as error:  # noqa: BLE001 - the answer, unless `failure` raises it
            part.replies = [failure(error) for _ in part.calls]
            part.failed = [*range(len(part.calls))] if _better_elsewhere(error) else []
        finally:
            with self._lock:
                _end(part)
        with self._lock:
            self._judge(part)

    @contextmanager
    def warming(self, server: Server, errors: list[Exception]) -> Iterator[None]:
        """Warm up inside: a server that fails is unhealthy, and its error goes to ``errors``."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised by the caller if all fail
            errors.append(failure(error))
            with self._lock:
                _cool_down(server, self._cooldown_s)

    def _next(self, tried: Sequence[Server], now: float) -> tuple[Server, How]:
        left = [server for server in self.servers if server not in tried]
        ready = [server for server in left if server.ready(now)]
        if not ready:
            return min(left, key=lambda server: server.cooldown_ends), "last resort"
        server = min(ready, key=lambda server: (server.under_way, server.asked))
        server.probing = bool(server.cooldown_s)
        return server, "probe" if server.probing else "as usual"

    def _judge(self, part: Part) -> None:
        """Only a probe prolongs a cooldown: calls that failed together count once."""
        server = part.server
        asked = [min(requested_wait_s(part.replies[i]), LONGEST_WAIT_S) for i in part.failed]
        match part.how, bool(part.failed):
            case "as usual", True if not server.cooldown_s:
                _cool_down(server, self._cooldown_s, *asked)
            case "probe", True:
                _cool_down(server, min(2 * server.cooldown_s, self._max_cooldown_s), *asked)
            case "probe" | "last resort", False:
                server.cooldown_s = 0.0


def _cool_down(server: Server, seconds: float, *asked: float) -> None:
    """Start a cooldown now; one of the times that the server itself asked for may be longer."""
    server.cooldown_s = seconds
    server.cooldown_ends = monotonic() + max(seconds, *asked, 0.0)


def _end(part: Part) -> None:
    if not part.ended:
        part.ended = True
        part.server.under_way -= len(part.calls)
        if part.how == "probe":
            part.server.probing = False


def _check(part: Part) -> None:
    """Require one reply for each call, and note the calls to ask again elsewhere."""
    if len(part.replies) != len(part.calls):
        raise ContractError(
            f"{type(part.server.backend).__name__} gave {len(part.replies)} replies to "
            f"{len(part.calls)} calls"
        )
    part.failed = [i for i, reply in enumerate(part.replies) if _better_elsewhere(reply)]


def _better_elsewhere(found: object) -> bool:
    """Whether another server may give a better reply than this one, or than this exception."""
    return found.retryable if isinstance(found, CallError) else isinstance(found, Exception)
