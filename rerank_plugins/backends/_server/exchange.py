"""Exchanges with a server, written once for synchronous and asynchronous code.

An *exchange* is a generator that yields requests and is sent what the server answered: decoded
JSON, or the `CallError` that took its place. It does no I/O.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ...errors import BackendError, CallError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to a server.

    Args:
        path: Relative to the API's address (``completions``), or with a leading slash to the
            server's (``/score``).
        body: Posted as JSON; None to get the path.
    """

    path: str
    body: Mapping[str, Any] | None = None


class RefusedError(BackendError):
    """The server understood a request and refused it (an HTTP status of 400 to 499, or 501).

    Attributes:
        status: The HTTP status.
        detail: The server's message, on one line and shortened.
    """

    def __init__(self, status: int, detail: str, *, hint: str = "") -> None:
        super().__init__(f"the server refused the request ({status}: {detail})", hint=hint)
        self.status, self.detail = status, detail


Exchange: TypeAlias = Generator[Request, Any, T]
"""Yields requests, is sent JSON or a `CallError` for each, and returns a ``T``."""


def post(path: str, body: Mapping[str, Any] | None) -> Exchange[Any]:
    """Post a body, or get the path if it is None, and return the decoded answer.

    Raises:
        CallError: The request failed.
    """
    answer = yield Request(path, body)
    if isinstance(answer, CallError):
        raise answer
    return answer


def get(path: str) -> Exchange[Any]:
    """Get a path and return the decoded answer.

    Raises:
        CallError: The request failed.
    """
    return (yield from post(path, None))
