"""HTTP with retries, a deadline and a limit on concurrent requests, synchronous and async."""

import asyncio
import threading
import time
import weakref
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ..._threads import NOT_ANSWERED, abandoned, in_thread, renewed_by_forks
from ...errors import BackendError, CallError
from ...handlers import LONGEST_WAIT_S, requested_wait_s
from .._answers.failures import lost, mask, without_secrets
from .exchange import Request
from .wire import read_response

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

FIRST_PAUSE_S = 0.5
"""Longest first pause before a retry; doubled each time. The pause is a random part of it."""

LARGEST_ANSWER = 32 * 2**20
"""Maximum size of an answer's body in bytes, both as sent and decompressed."""

_WRITTEN_AT_ONCE = 64 * 1024  # bytes, between two looks at the clock

_ends: ContextVar[float] = ContextVar("ends", default=float("inf"))
"""When this thread's attempt ends, on the monotonic clock."""


@dataclass(eq=False, repr=False, kw_only=True)
class Transport:
    """Sends requests to one server and returns JSON or `CallError` values.

    Retries here multiply with those around it: `retried` repeats a call with all its attempts,
    and `Balanced` repeats it on each backend.

    Args:
        base: The address of the API: ``http://localhost:8000/v1``.
        headers: Sent with each request. May hold a key: never shown.
        timeout_s: Seconds for one attempt, from looking up the server's name to the last byte.
        attempts: Maximum number of attempts for each request. A request is repeated after a
            refused or lost connection, a timeout, a status of 408, 409, 425, 429 or 5xx, or a
            body that was cut; for a ``Retry-After`` see `LONGEST_WAIT_S`.
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
    _lock: threading.Lock = field(init=False)
    _places: threading.Semaphore = field(init=False)
    _loops: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[_OnLoop]]" = field(
        init=False
    )
    _on_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OnLoop]" = field(init=False)

    def __post_init__(self) -> None:
        self._start()
        renewed_by_forks(self)

    def _start(self) -> None:
        self._client, self._lock = None, threading.Lock()
        self._places = threading.Semaphore(self.max_concurrency)
        self._loops, self._on_loop = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()

    def _at_fork_reinit(self) -> None:
        """Leave the connections to the parent process. Closing them here would end them there."""
        _PARENTS.append((self._client, dict(self._loops), dict(self._on_loop)))
        self._start()

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
        with self._places:  # the time spent waiting here is not the server's
            if abandoned():
                return BackendError(NOT_ANSWERED)
            # Neither the look-up of a name nor the tries of all its addresses have a limit of
            # their own, so a thread does it that can be left behind.
            job = in_thread(lambda: self._exchange(request))
            try:
                return job.future.result(self.timeout_s)
            except TimeoutError:
                return self._late()
            finally:
                job.cancelled.set()

    def _exchange(self, request: Request) -> Any:
        httpx = extra("httpx", "openai")
        _ends.set(time.monotonic() + self.timeout_s)  # for this thread alone
        try:
            arguments = {**self._arguments(request), "extensions": {"trace": _obey_deadline}}
            with self._opened_client().stream(**arguments) as response:
                body = _Body(response.headers)
                for chunk in response.iter_raw():
                    body.add(chunk)
                    if abandoned():
                        return BackendError(NOT_ANSWERED)
        except (TimeoutError, httpx.TimeoutException):
            return self._late()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return without_secrets(lost(error), self.secrets)
        except CallError as error:  # the body's
            return without_secrets(error, self.secrets)
        return self._read(request, response, bytes(body.content))

    async def _aattempt(self, request: Request) -> Any:
        httpx = extra("httpx", "openai")
        loop = asyncio.get_running_loop()
        if loop not in self._on_loop:
            generator = self._opened()
            self._loops[loop] = generator
            self._on_loop[loop] = await anext(generator)
        here = self._on_loop[loop]
        try:
            async with (
                here.places,
                asyncio.timeout(self.timeout_s),
                here.client.stream(**self._arguments(request)) as response,
            ):
                body = _Body(response.headers)
                async for chunk in response.aiter_raw():
                    body.add(chunk)
        except (TimeoutError, httpx.TimeoutException):
            return self._late()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return without_secrets(lost(error), self.secrets)
        except CallError as error:  # the body's
            return without_secrets(error, self.secrets)
        return self._read(request, response, bytes(body.content))

    def _read(self, request: Request, response: "httpx.Response", content: bytes) -> Any:
        asked = None if request.body is None else frozenset(request.body)
        return read_response(
            response.status_code,
            response.headers,
            content,
            asked,
            hide=lambda text: mask(text, self.secrets),  # a server may repeat them
        )

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
        backoff = tenacity.wait_random_exponential(FIRST_PAUSE_S, LONGEST_WAIT_S / 2)

        def again(answer: Any) -> bool:
            return isinstance(answer, CallError) and answer.retryable

        def wait(state: "RetryCallState") -> float:
            return max(float(backoff(state)), requested_wait_s(_result(state)))

        def over(state: "RetryCallState") -> bool:
            return abandoned() or requested_wait_s(_result(state)) > LONGEST_WAIT_S

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
        headers = httpx.Headers(dict(self.headers))
        headers["Accept-Encoding"] = "gzip, deflate"  # those that `_Body` can bound
        # No cookies: a server could add to all later requests, of every user, without end.
        nobody = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        settings = {"headers": headers, "timeout": self.timeout_s, "limits": limits}
        return {**settings, "cookies": nobody}


_PARENTS: list[Any] = []
"""The connections of the process from which this one was forked: neither used nor closed."""


@dataclass(frozen=True, slots=True)
class _OnLoop:
    """The client of one event loop, and the limit on its concurrent requests."""

    client: "httpx.AsyncClient"
    places: asyncio.Semaphore


class _Body:
    """An answer's body, decompressed while it arrives and bounded by `LARGEST_ANSWER`."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.content, self._received, self._start = bytearray(), 0, b""
        self._packed: Any = None
        self._coding = headers.get("content-encoding", "").strip().lower() or "identity"
        if self._coding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise BackendError(
                f"the server's answer is compressed as {self._coding[:40]!r}, not as gzip"
            )

    def add(self, chunk: bytes) -> None:
        """Add what arrived.

        Raises:
            BackendError: The body is too large, or damaged.
        """
        self._received += len(chunk)
        room = LARGEST_ANSWER + 1 - len(self.content)
        try:
            self.content += self._decompressed(chunk, room)[:room]
        except zlib.error as error:
            raise BackendError(
                f"the server's answer cannot be decompressed ({error})", retryable=True
            ) from error
        if max(self._received, len(self.content)) > LARGEST_ANSWER:
            raise BackendError(f"the server's answer is larger than {LARGEST_ANSWER >> 20} MiB")

    def _decompressed(self, chunk: bytes, most: int) -> bytes:
        if self._coding == "identity":
            return chunk
        if self._packed is None:
            chunk = self._start = self._start + chunk
            if len(chunk) < 2:
                return b""
            # "deflate" is zlib's format, and some servers send it without zlib's header.
            has_header = chunk[0] % 16 == zlib.DEFLATED and int.from_bytes(chunk[:2]) % 31 == 0
            deflate = zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
            self._packed = zlib.decompressobj(deflate if self._coding == "deflate" else 31)
        found: bytes = self._packed.decompress(chunk, most)
        return found


def _obey_deadline(event: str, info: Mapping[str, Any]) -> None:
    """Bound what is done with a new connection by the deadline of the attempt that does it.

    httpx limits each read and each write, of which a slow server can make any number.
    """
    if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
        return
    stream = info["return_value"]
    read, write, start_tls = stream.read, stream.write, stream.start_tls

    def write_slowly(buffer: bytes, *_: Any, **__: Any) -> None:
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
            write(buffer[start : start + _WRITTEN_AT_ONCE], _left_s())

    stream.read = lambda size, *_, **__: read(size, _left_s())
    stream.write = write_slowly
    stream.start_tls = lambda ssl_context, server_hostname=None, *_, **__: start_tls(
        ssl_context, server_hostname, _left_s()
    )


def _left_s() -> float:
    """The seconds that are left of this thread's attempt.

    Raises:
        TimeoutError: None are, or the caller was cancelled.
    """
    left = _ends.get() - time.monotonic()
    if left <= 0 or abandoned():
        raise TimeoutError
    return left


def address(base: str, path: str) -> str:
    """The URL of a path: one with a slash is the server's own, outside its API.

    Examples:
        >>> address("http://localhost:8000/v1", "completions")
        'http://localhost:8000/v1/completions'
        >>> address("http://localhost:8000/v1", "/score")
        'http://localhost:8000/score'
        >>> address("https://me.openai.azure.com/openai/v1?api-version=preview", "models")
        'https://me.openai.azure.com/openai/v1/models?api-version=preview'
    """
    api, mark, query = base.partition("?")
    api = api.removesuffix("/v1") if path.startswith("/") else f"{api}/"
    return f"{api}{path}{mark}{query}"


def _result(state: "RetryCallState") -> Any:
    assert state.outcome is not None  # noqa: S101 - tenacity calls this after an attempt
    return state.outcome.result()


def _pause(seconds: float) -> None:
    """Sleep; return early once the caller was cancelled."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not abandoned():
        time.sleep(min(left, 0.1))
