"""What stands before the application: each a function from an ASGI application to another.

From the outside in: `measured` counts and catches, `keyed` checks who asks, `bounded` reads no more
than it should and lets no more in than it may.
"""

import asyncio
import time
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._admission import Gate
from ._keys import Allowed
from ._limits import ServiceSettings
from ._problems import Refusal, logger, problem
from ._prometheus import Metrics

RERANK_PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")
OPEN_PATHS = ("/health", "/ready")
"""What needs no key: an orchestrator's probes have none."""
KNOWN_PATHS = (*RERANK_PATHS, *OPEN_PATHS, "/v1/models", "/metrics", "/openapi.json")

NO_ANSWER = 499
"""The status under which a request is counted whose client did not wait."""


def path_of(scope: Scope) -> str:
    """The path within this application, also where it is mounted under another one."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def request_id_of(scope: Scope) -> str:
    """The name by which the log and the client know a request."""
    name: str = scope["state"]["request_id"]
    return name


def measured(app: ASGIApp, *, metrics: Metrics) -> ASGIApp:
    """Give each request a name, count its answer, and answer what nobody else caught."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        request_id = uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        path, start, status = path_of(scope), time.perf_counter(), NO_ANSWER

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                name = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), name]}
            await send(message)

        try:
            await app(scope, receive, named)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception:
            if status != NO_ANSWER:
                raise  # half an answer is out: the server ends the connection
            logger.exception("request %s failed", request_id)
            text = "the service failed: its log has the reason under this id"
            await problem(500, text, request_id=request_id)(scope, receive, named)
        finally:
            seconds = time.perf_counter() - start if path in RERANK_PATHS else None
            metrics.answered(path if path in KNOWN_PATHS else "other", status, seconds)
        return None

    return guard


def keyed(app: ASGIApp, *, allowed: Allowed) -> ASGIApp:
    """Refuse whoever has no key, whatever is asked for, before anything is read."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] != "http" or path_of(scope) in OPEN_PATHS
        if is_open or allowed(Headers(scope=scope)):
            return await app(scope, receive, send)
        refusal = Refusal(
            401,
            "the API key is missing or wrong: send Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
        return await refusal.answer(request_id_of(scope))(scope, receive, send)

    return guard


def bounded(app: ASGIApp, *, gate: Gate, settings: ServiceSettings) -> ASGIApp:
    """Let rerank requests in as the gate allows, with bodies of limited size and time."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) not in RERANK_PATHS:
            return await app(scope, receive, send)
        try:
            _check_length(Headers(scope=scope).get("content-length"), settings.max_body_bytes)
            with gate.entered():
                body = await _body(receive, settings)
                return await app(scope, _replayed(body, receive), send)
        except Refusal as refusal:
            return await refusal.answer(request_id_of(scope))(scope, receive, send)

    return guard


def _check_length(announced: str | None, limit: int) -> None:
    if announced is not None and announced.isdecimal() and int(announced[:19]) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Refusal:
    # What the client still sends is not waited for.
    text = f"the body is longer than {limit} bytes"
    return Refusal(413, text, headers={"Connection": "close"})


async def _body(receive: Receive, settings: ServiceSettings) -> bytes:
    """The whole body, or as soon as it is known to be too long or too slow, a refusal."""
    pieces, size, more = [], 0, True
    try:
        async with asyncio.timeout(settings.read_timeout_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > settings.max_body_bytes:
                    raise _too_large(settings.max_body_bytes)
                more = message.get("more_body", False)
    except TimeoutError:
        text = f"the body did not arrive within {settings.read_timeout_s:g} seconds"
        raise Refusal(408, text, headers={"Connection": "close"}) from None
    return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then whatever comes: the client's end of the connection."""
    left = [body]

    async def replay() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay
