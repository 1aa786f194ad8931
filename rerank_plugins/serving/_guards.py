"""ASGI middleware around the application.

From the outside in: `measured` counts requests and answers unforeseen errors, `keyed` checks the
API key, `bounded` limits the size of bodies and the number of requests.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InputError
from ._pages import PAGES
from ._problems import Refusal, logger, problem
from ._service import Gate, Metrics, ServiceSettings

RERANK_PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")
OPEN_PATHS = ("/health", "/ready", *PAGES)
"""Paths that need no key: an orchestrator has none, and people type theirs into the pages."""
KNOWN_PATHS = (*RERANK_PATHS, *OPEN_PATHS, "/v1/models", "/metrics", "/openapi.json")

NO_ANSWER = 499
"""The status under which a request is counted if its client disconnected."""


def path_of(scope: Scope) -> str:
    """The path within this application, also if it is mounted under another one."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def request_id_of(scope: Scope) -> str:
    """The id of a request, which the log and the answer have."""
    name: str = scope["state"]["request_id"]
    return name


def for_http(guard: Callable[..., Awaitable[None]]) -> Callable[..., ASGIApp]:
    """Make ASGI middleware of a function that handles an HTTP request for an application.

    Args:
        guard: Called with the application, the three arguments of ASGI and the middleware's
            options, for HTTP requests only.
    """

    def wrapped(app: ASGIApp, **options: Any) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await guard(app, scope, receive, send, **options)
            else:
                await app(scope, receive, send)

        return guarded

    return wrapped


@for_http
async def measured(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, metrics: Metrics
) -> None:
    """Give each request an id, count its answer, and answer errors that nothing else handled."""
    request_id = uuid4().hex
    scope.setdefault("state", {})["request_id"] = request_id
    path, start, status = path_of(scope), time.perf_counter(), NO_ANSWER

    async def send_with_id(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            name = (b"x-request-id", request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), name]}
        await send(message)

    try:
        await app(scope, receive, send_with_id)
    except ClientDisconnect:
        pass  # no one is left to answer
    except Exception:
        if status != NO_ANSWER:
            raise  # half an answer is sent: the server closes the connection
        logger.exception("request %s failed", request_id)
        text = "the service failed: its log has the reason under this id"
        await problem(500, text, request_id=request_id)(scope, receive, send_with_id)
    finally:
        seconds = time.perf_counter() - start if path in RERANK_PATHS else None
        metrics.answered(path if path in KNOWN_PATHS else "other", status, seconds)


@for_http
async def keyed(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    allowed: Callable[[Headers], bool],
) -> None:
    """Refuse requests without the key before anything is read, except on `OPEN_PATHS`."""
    if path_of(scope) in OPEN_PATHS or allowed(Headers(scope=scope)):
        return await app(scope, receive, send)
    refusal = Refusal(
        401,
        "the API key is missing or wrong: send Authorization: Bearer KEY",
        headers={"WWW-Authenticate": "Bearer"},
    )
    return await refusal.response(request_id_of(scope))(scope, receive, send)


def bearer(api_key: str) -> Callable[[Headers], bool]:
    """A predicate: True for headers with ``Authorization: Bearer <api_key>``, exactly once.

    Only digests are kept, and they are compared in constant time: the time taken reveals nothing
    about the key or its length, and no repr, log or error can show it.

    Raises:
        InputError: The key is blank, or cannot be sent in a header.

    Examples:
        >>> allowed = bearer("secret")
        >>> allowed(Headers({"Authorization": "Bearer secret"})), allowed(Headers({}))
        (True, False)
    """
    if not api_key.strip():
        raise InputError("the API key is blank", hint="Give a key, or None for no key.")
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise InputError("the API key has characters that a header cannot carry")
    expected = _digest(api_key)

    def allowed(headers: Headers) -> bool:
        given = headers.getlist("authorization")
        scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        matches = hmac.compare_digest(_digest(key.strip()), expected)
        return matches and scheme.lower() == "bearer"

    return allowed


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


@for_http
async def bounded(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    gate: Gate,
    settings: ServiceSettings,
) -> None:
    """Admit rerank requests through the gate, with bodies of limited size and time."""
    if path_of(scope) not in RERANK_PATHS:
        return await app(scope, receive, send)
    try:
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:19]) > settings.max_body_bytes:
            raise _too_large(settings.max_body_bytes)
        with gate.entered():
            return await app(scope, await _buffered(receive, settings), send)
    except Refusal as refusal:
        return await refusal.response(request_id_of(scope))(scope, receive, send)


async def _buffered(receive: Receive, settings: ServiceSettings) -> Receive:
    """Read the whole body; the result gives it once, and then the client's disconnect.

    Raises:
        Refusal: The body is too long or too slow; raised as soon as that is known.
    """
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(settings.read_timeout_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > settings.max_body_bytes:
                    raise _too_large(settings.max_body_bytes)
                more = message.get("more_body", False)
    except TimeoutError:
        text = f"the body did not arrive within {settings.read_timeout_s:g} seconds"
        raise Refusal(408, text, headers={"Connection": "close"}) from None
    unread = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay


def _too_large(limit: int) -> Refusal:
    text = f"the body is longer than {limit} bytes"
    return Refusal(413, text, headers={"Connection": "close"})  # the rest of it is not read
