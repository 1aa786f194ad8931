"""HTTP with retries, a deadline and a limit on concurrent requests, synchronous and async."""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ..._threads import NOT_ANSWERED, abandoned
from ...errors import BackendError, CallError
from .._answers.failures import lost
from .exchange import Request
from .wire import read_response

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

LONGEST_PAUSE_S = 60.0
"""Longest pause before a retry: a server that asks for a longer one is not asked again."""

FIRST_PAUSE_S = 0.5
"""Longest first pause before a retry; doubled each time. The pause is a random part of it."""


@dataclass(eq=False, repr=False, kw_only=True)
class Transport:
    """Sends requests to one server and returns JSON or `CallError` values.

    Retries here multiply with those around it: `retried` repeats a call with all its attempts,
    and `Balanced` repeats it on each backend.

    Args:
        base: The address of the API: ``http://localhost:8000/v1``.
        headers: Sent with each request. May hold a key: never shown.
        timeout_s: Seconds for one attempt, from connecting to the last byte.
        attempts: Maximum number of attempts for each request. A request is repeated after a
            refused or lost connection, a timeout, a status of 408, 409, 425, 429 or 5xx, or a
            body that was cut; a ``Retry-After`` is obeyed.
        max_concurrency: Maximum number of concurrent requests: over all threads, and on each
            event loop.
        secrets: Texts that must not appear in an error.
        extra_body: Further arguments of each completion; None removes an argument.
    """

    base: str
    headers: Mapping[str, str]
    timeout_s: float
    attempts: int
    max_concurrency: int
    secrets: tuple[str, ...] = ()
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    _client: "httpx.Client | None" = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _places: threading.Semaphore = field(init=False)
    _loops: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[_OnLoop]]" = field(
        default_factory=weakref.WeakKeyDictionary, init=False
    )
    _on_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OnLoop]" = field(
        default_factory=weakref.WeakKeyDictionary, init=False
    )

    def __post_init__(self) -> None:
        self._places = threading.Semaphore(self.max_concurrency)

    def send(self, request: Request) -> Any:
        """Send a request, with retries; return JSON or a `CallError`."""
        tenacity = extra("tenacity", "openai")
        retrying = tenacity.Retrying(**self._policy(tenacity), sleep=_pause)
        return retrying(self._attempt, request)

    async def asend(self, request: Request) -> Any:
        """`send`, on an event loop. Cancelling it closes the connection."""
        tenacity = extra("tenacity", "openai")
        retrying = tenacity.AsyncRetrying(**self._policy(tenacity))
        return await retrying(self._aattempt, request)

    def close(self) -> None:
        """Close the connections of synchronous requests. The next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close this loop's connections, and those of synchronous requests."""
        self.close()
        loop = asyncio.get_running_loop()
        generator = self._loops.pop(loop, None)
        if generator is not None:
            await generator.aclose()

    def _attempt(self, request: Request) -> Any:
        httpx = extra("httpx", "openai")
        content = bytearray()
        with self._places:  # the time spent waiting here is not the server's
            if abandoned():
                return BackendError(NOT_ANSWERED)
            ends = time.monotonic() + self.timeout_s
            try:
                with self._opened_client().stream(**self._arguments(request)) as response:
                    for chunk in response.iter_bytes():
                        content += chunk
                        if abandoned() or time.monotonic() > ends:  # httpx limits each chunk only
                            return self._late()
            except httpx.HTTPError as error:
                return lost(error)
        return self._read(request, response, bytes(content))

    async def _aattempt(self, request: Request) -> Any:
        httpx = extra("httpx", "openai")
        loop = asyncio.get_running_loop()
        if loop not in self._on_loop:
            generator = self._opened()
            self._loops[loop] = generator
            self._on_loop[loop] = await anext(generator)
        here = self._on_loop[loop]
        try:
            async with here.places, asyncio.timeout(self.timeout_s):
                response = await here.client.request(**self._arguments(request))
        except TimeoutError:
            return self._late()
        except httpx.HTTPError as error:
            return lost(error)
        return self._read(request, response, response.content)

    def _read(self, request: Request, response: "httpx.Response", content: bytes) -> Any:
        for secret in self.secrets:  # a server may repeat them
            content = content.replace(secret.encode(), b"***")
        asked = None if request.body is None else frozenset(request.body)
        return read_response(response.status_code, response.headers, content, asked)

    def _arguments(self, request: Request) -> dict[str, Any]:
        url = address(self.base, request.path)
        if request.body is None:
            return {"method": "GET", "url": url}
        body = dict(request.body)
        if request.path.endswith("completions"):
            body = {k: v for k, v in {**body, **self.extra_body}.items() if v is not None}
        return {"method": "POST", "url": url, "json": body}

    def _late(self) -> CallError:
        return BackendError(
            f"the server did not answer within {self.timeout_s:g} seconds", retryable=True
        )

    def _policy(self, tenacity: Any) -> dict[str, Any]:
        backoff = tenacity.wait_random_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S / 2)

        def again(answer: Any) -> bool:
            return isinstance(answer, CallError) and answer.retryable

        def wait(state: "RetryCallState") -> float:
            return max(float(backoff(state)), _requested_pause(state))

        def over(state: "RetryCallState") -> bool:
            return abandoned() or _requested_pause(state) > LONGEST_PAUSE_S

        return {
            "retry": tenacity.retry_if_result(again),
            "stop": tenacity.stop_any(tenacity.stop_after_attempt(self.attempts), over),
            "wait": wait,
            "retry_error_callback": _result,
        }

    def _opened_client(self) -> "httpx.Client":
        httpx = extra("httpx", "openai")
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(**self._settings(httpx))
                weakref.finalize(self, self._client.close)  # for callers who forget to
            return self._client

    async def _opened(self) -> "AsyncGenerator[_OnLoop]":
        # A loop that ends (as `asyncio.run` ends it) first closes its asynchronous generators:
        # the connections are closed in time even if the caller forgot to. Tested by
        # test_one_backend_on_several_loops_and_threads.
        httpx = extra("httpx", "openai")
        try:
            async with httpx.AsyncClient(**self._settings(httpx)) as client:
                yield _OnLoop(client, asyncio.Semaphore(self.max_concurrency))
        finally:
            loop = asyncio.get_running_loop()
            self._on_loop.pop(loop, None)
            self._loops.pop(loop, None)

    def _settings(self, httpx: Any) -> dict[str, Any]:
        limits = httpx.Limits(
            max_connections=self.max_concurrency, max_keepalive_connections=self.max_concurrency
        )
        return {"headers": dict(self.headers), "timeout": self.timeout_s, "limits": limits}


@dataclass(frozen=True, slots=True)
class _OnLoop:
    """The client of one event loop, and the limit on its concurrent requests."""

    client: "httpx.AsyncClient"
    places: asyncio.Semaphore


def address(base: str, path: str) -> str:
    """The URL of a path: one with a slash is the server's own, outside its API.

    Examples:
        >>> address("http://localhost:8000/v1", "completions")
        'http://localhost:8000/v1/completions'
        >>> address("http://localhost:8000/v1", "/score")
        'http://localhost:8000/score'
    """
    if path.startswith("/"):
        return base.removesuffix("/v1") + path
    return f"{base}/{path}"


def _result(state: "RetryCallState") -> Any:
    assert state.outcome is not None  # noqa: S101 - tenacity calls this after an attempt
    return state.outcome.result()


def _requested_pause(state: "RetryCallState") -> float:
    """The seconds that the server asked to wait; 0 if it did not."""
    answer = _result(state)
    return (answer.retry_after_s or 0.0) if isinstance(answer, CallError) else 0.0


def _pause(seconds: float) -> None:
    """Sleep; return early once the caller was cancelled."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not abandoned():
        time.sleep(min(left, 0.1))
