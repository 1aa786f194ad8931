"""Which of several equal backends is asked next: load, sickness and recovery."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

from ...calls import Batch, Call, Replies, Reply
from ...errors import CallError, ContractError
from ...handlers import AnyBackend, failure

How = Literal["as usual", "trial", "last resort"]
"""Why a server is asked: it is well, its rest is over, or no other is left."""


@dataclass(eq=False, slots=True)
class Server:
    """A backend with its load and its health. Changed by its `Fleet` alone.

    Attributes:
        backend: What answers.
        under_way: Calls that it has not answered yet.
        asked: Calls that it ever got: among equal loads the least used is next.
        rest_s: How long its present rest is, in seconds; 0 while it is well.
        rests_until: When that rest ends, on the monotonic clock.
        on_trial: Whether the call that decides about its health is under way.
    """

    backend: AnyBackend
    under_way: int = 0
    asked: int = 0
    rest_s: float = 0.0
    rests_until: float = 0.0
    on_trial: bool = False

    def ready(self, now: float) -> bool:
        """Whether it may be asked: it is well, or due for its trial."""
        return not self.rest_s or (now >= self.rests_until and not self.on_trial)


@dataclass(eq=False, slots=True)
class Part:
    """The calls of a batch that one server gets.

    Attributes:
        server: Who is asked.
        how: Why.
        where: The calls' places in the batch.
        calls: The calls, aligned with ``where``.
        replies: Their replies, aligned, once they are there.
        failed: Which of them another server may answer better: indices into ``calls``.
        ended: Whether it no longer counts as under way.
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
        """Put another server's replies in the place of the failed ones."""
        for i, reply in zip(self.failed, replies, strict=True):
            self.replies[i] = reply


class Fleet:
    """The servers, and the lock that guards what is known of them. For threads and event loops.

    Args:
        backends: What answers.
        cooldown_s: The first rest of a sick one, in seconds.
        max_cooldown_s: Where the doubling of rests ends.
    """

    def __init__(
        self, backends: Sequence[AnyBackend], cooldown_s: float, max_cooldown_s: float
    ) -> None:
        self.servers = tuple(map(Server, backends))
        self._cooldown_s, self._max_cooldown_s = cooldown_s, max_cooldown_s
        self._lock = threading.Lock()  # held for moments, so an event loop may take it

    @contextmanager
    def parts(self, calls: Batch, tried: Sequence[Server]) -> Iterator[list[Part]]:
        """The batch in parts for servers not yet ``tried``.

        They count as under way until they are answered, or this ends: a task that is cancelled
        before its first step gives back what it took, too.
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
                _add(part, [call] * len(where), where)
        try:
            yield list(parts.values())
        finally:
            with self._lock:
                for part in parts.values():
                    _end(part)

    @contextmanager
    def asking(self, part: Part) -> Iterator[None]:
        """Fill ``part.replies`` inside: what is raised becomes replies, the server is judged.

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
        """Warm up inside: one that fails is sick, and its error is noted."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised by the caller where all fail
            errors.append(failure(error))
            with self._lock:
                self._rest(server, self._cooldown_s)

    def _next(self, tried: Sequence[Server], now: float) -> tuple[Server, How]:
        left = [server for server in self.servers if server not in tried]
        ready = [server for server in left if server.ready(now)]
        if not ready:
            return min(left, key=lambda server: server.rests_until), "last resort"
        server = min(ready, key=lambda server: (server.under_way, server.asked))
        server.on_trial = bool(server.rest_s)
        return server, "trial" if server.on_trial else "as usual"

    def _judge(self, part: Part) -> None:
        """Only a trial prolongs a rest: calls that failed together count once."""
        server = part.server
        match part.how, bool(part.failed):
            case "as usual", True if not server.rest_s:
                self._rest(server, self._cooldown_s, part)
            case "trial", True:
                self._rest(server, min(2 * server.rest_s, self._max_cooldown_s), part)
            case "trial" | "last resort", False:
                server.rest_s = 0.0

    def _rest(self, server: Server, seconds: float, part: Part | None = None) -> None:
        """From now; longer where the server itself asked for it."""
        asked = [getattr(part.replies[i], "retry_after_s", 0) for i in part.failed] if part else []
        server.rest_s = seconds
        server.rests_until = monotonic() + max([seconds, *(s for s in asked if s)])


def _add(part: Part, calls: list[Call[Any]], where: list[int]) -> None:
    part.calls += calls
    part.where += where
    part.server.under_way += len(calls)
    part.server.asked += len(calls)


def _end(part: Part) -> None:
    if not part.ended:
        part.ended = True
        part.server.under_way -= len(part.calls)
        if part.how == "trial":
            part.server.on_trial = False


def _check(part: Part) -> None:
    """One reply a call; those that are worth another server are noted."""
    if len(part.replies) != len(part.calls):
        raise ContractError(
            f"{type(part.server.backend).__name__} gave {len(part.replies)} replies to "
            f"{len(part.calls)} calls"
        )
    part.failed = [i for i, reply in enumerate(part.replies) if _better_elsewhere(reply)]


def _better_elsewhere(found: object) -> bool:
    """Whether a reply, or what was raised, may be a better one from another server."""
    return found.retryable if isinstance(found, CallError) else isinstance(found, Exception)
