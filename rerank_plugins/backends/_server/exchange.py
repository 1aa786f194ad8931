"""Conversations with a server, written once for both colours.

An *exchange* is a generator that yields requests and is sent what the server answered: decoded
JSON, or the `CallError` that came of it. It does no I/O. `converse` and `aconverse` run one.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from ...errors import BackendError, CallError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server.

    Args:
        path: After the API's address (``completions``), or with a slash after the server's
            (``/score``).
        body: What is posted as JSON; None to get the path.
    """

    path: str
    body: Mapping[str, Any] | None = None


class RefusedError(BackendError):
    """The server understood a request and refused it (an HTTP status of 400 to 499, or 501).

    Attributes:
        status: The HTTP status.
        detail: What the server said, cut to one line.
    """

    def __init__(self, status: int, detail: str, *, hint: str = "") -> None:
        super().__init__(f"the server refused the request ({status}: {detail})", hint=hint)
        self.status, self.detail = status, detail


Exchange: TypeAlias = Generator[Request, Any, T]
"""Yields requests, is sent JSON or a `CallError` for each, and returns a ``T``."""


def post(path: str, body: Mapping[str, Any]) -> Exchange[Any]:
    """Post a body and return the decoded answer.

    Raises:
        CallError: What came of the request instead.
    """
    return (yield from _asked(Request(path, body)))


def get(path: str) -> Exchange[Any]:
    """Get a path; as `post`."""
    return (yield from _asked(Request(path)))


def _asked(request: Request) -> Exchange[Any]:
    answer = yield request
    if isinstance(answer, CallError):
        raise answer
    return answer


def converse(exchange: Exchange[T], send: Callable[[Request], Any]) -> T:
    """Run an exchange to its result, answering each request with ``send``."""
    try:
        state = _advanced(exchange)
        while isinstance(state, Request):
            state = _advanced(exchange, send(state))
    finally:
        exchange.close()
    return state.value


async def aconverse(exchange: Exchange[T], send: Callable[[Request], Awaitable[Any]]) -> T:
    """`converse`, on an event loop."""
    try:
        state = _advanced(exchange)
        while isinstance(state, Request):
            state = _advanced(exchange, await send(state))
    finally:
        exchange.close()
    return state.value


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    value: T


def _advanced(exchange: Exchange[T], answer: Any = None) -> Request | _Done[T]:
    # StopIteration is caught around the generator and around nothing else.
    try:
        return exchange.send(answer)
    except StopIteration as stop:
        return _Done(stop.value)
