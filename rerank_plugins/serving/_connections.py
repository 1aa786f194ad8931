"""Limits of connections: how many there are, and how long each may be without a request."""

import asyncio
import math

from uvicorn.protocols.http.h11_impl import H11Protocol


class LimitedConnection(H11Protocol):
    """A connection of uvicorn with a deadline between requests, and a limit of their number.

    A connection has no request under way until the whole header of one has arrived, and again
    after its answer. The deadline then counts, whatever bytes arrive meanwhile: a header or an
    unread body that comes slowly does not extend it, nor does an answer that nobody takes.

    Attributes:
        seconds: How long a connection may be without a request.
        most: How many connections there are at most. One more closes the connection that has been
            without a request for the longest time: the new one itself if all others have one.
    """

    seconds: float
    most: int
    _end: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]  # like uvicorn's
        self, transport: asyncio.Transport
    ) -> None:
        """Start the deadline, and make room for this connection."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.most:
            ours = [c for c in self.connections if isinstance(c, LimitedConnection)]
            oldest = min(ours, key=LimitedConnection._ends_at)  # this one has an end
            self.connections.discard(oldest)  # before the loop reports that it is lost
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request, which may be here already."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline."""
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        if not getattr(self.cycle, "response_complete", True):  # None before the first request
            self._forget()
        elif self._end is None:
            self._end = self.loop.call_later(self.seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _ends_at(self) -> float:
        return math.inf if self._end is None else self._end.when()


def limited_connections(seconds: float, most: int) -> type[LimitedConnection]:
    """The protocol for `uvicorn.Config` with these limits."""
    return type("LimitedConnection", (LimitedConnection,), {"seconds": seconds, "most": most})


def open_files() -> float:
    """The number of files, connections among them, that this process may have open."""
    try:
        import resource
    except ImportError:  # not on Windows
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft
