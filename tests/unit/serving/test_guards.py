"""Middleware, without a server: requests and answers as ASGI messages."""

import asyncio
import json

import pytest
from prometheus_client import generate_latest
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from rerank_plugins import InputError
from rerank_plugins.serving import ServiceSettings
from rerank_plugins.serving._guards import (
    bearer,
    bounded,
    for_http,
    keyed,
    measured,
    path_of,
)
from rerank_plugins.serving._service import Gate, Metrics


def scope(path="/v1/rerank", **headers):
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        "state": {"request_id": "the-id"},
    }


def ask(app, given, *messages):
    """The status, the headers and the body of an answer."""
    left, sent = list(messages), []

    async def receive():
        if not left:
            await asyncio.sleep(60)
        return left.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(app(given, receive, send))
    if not sent:
        return None
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m["body"] for m in sent[1:])


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


async def echo(given, receive, send):
    """Answers with the body of the request, and says what came after it."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def test_paths_of_a_mounted_application():
    assert path_of({"path": "/api/health", "root_path": "/api"}) == "/health"
    assert path_of({"path": "/health"}) == "/health"


def test_other_kinds_of_connections_pass_unchanged():
    seen = []

    async def app(given, receive, send):
        seen.append(given["type"])

    @for_http
    async def refuse(app, given, receive, send, *, why):
        seen.append(why)

    wrapped = refuse(app, why="refused")
    for kind in ("lifespan", "http"):
        asyncio.run(wrapped({"type": kind}, None, None))
    assert seen == ["lifespan", "refused"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Bearer secret"], True),
        (["bearer secret"], True),
        (["Bearer  secret "], True),
        (["Bearer wrong"], False),
        (["Basic secret"], False),
        (["secret"], False),
        ([], False),
        (["Bearer secret", "Bearer secret"], False),
        (["Bearer s\udce9cret"], False),
    ],
)
def test_keys(values, expected):
    raw = [(b"authorization", v.encode("latin-1", "replace")) for v in values]
    assert bearer("secret")(Headers(raw=raw)) is expected


@pytest.mark.parametrize("key", ["", " ", "two words", "schlüssel", "line\n"])
def test_keys_that_no_header_carries(key):
    with pytest.raises(InputError, match="the API key"):
        bearer(key)


def test_a_key_is_needed_except_by_probes():
    app = keyed(echo, allowed=lambda headers: headers.get("x") == "yes")
    assert ask(app, scope(x="yes"), part(b"a"))[0] == 200
    assert ask(app, scope("/health"), part(b"a"))[0] == 200
    status, headers, body = ask(app, scope(), part(b"a"))
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert json.loads(body)["id"] == "the-id"


def bound(**limits):
    settings = ServiceSettings(max_body_bytes=10, **limits)
    return bounded(echo, gate=Gate(settings), settings=settings)


def test_a_body_in_parts_is_given_whole():
    assert ask(bound(), scope(), part(b"12345", True), part(b"67890"))[::2] == (200, b"1234567890")


@pytest.mark.parametrize("announced", ["11", "0" * 30 + "11", "9" * 40])
def test_a_body_that_announces_too_much(announced):
    given = scope(content_length=announced)
    status, headers, _ = ask(bound(), given, part(b"12345", True), part(b"678901"))
    assert (status, headers[b"connection"]) == (413, b"close")


def test_a_body_that_grows_too_long_or_never_ends():
    assert ask(bound(), scope(), part(b"12345", True), part(b"678901", True))[0] == 413
    assert ask(bound(read_timeout_s=0.01), scope(), part(b"1", True))[0] == 408


def test_other_paths_are_not_bounded():
    assert ask(bound(), scope("/metrics"), part(b"x" * 20))[0] == 200


def test_a_client_that_leaves_while_it_sends():
    with pytest.raises(ClientDisconnect):
        ask(bound(), scope(), part(b"1", True), {"type": "http.disconnect"})


def counting(app):
    metrics = Metrics(Gate(ServiceSettings()))
    return measured(app, metrics=metrics), lambda: generate_latest(metrics.registry).decode()


def test_answers_have_an_id_and_are_counted():
    app, counts = counting(echo)
    _, first, _ = ask(app, scope(), part(b""))
    _, second, _ = ask(app, scope("/any/other"), part(b""))
    assert first[b"x-request-id"] != second[b"x-request-id"]
    assert len(first[b"x-request-id"]) == 32
    assert 'rerank_requests_total{path="/v1/rerank",status="200"} 1.0' in counts()
    assert 'rerank_requests_total{path="other",status="200"} 1.0' in counts()
    assert "rerank_request_seconds_count 1.0" in counts()


def test_errors_that_nothing_handled():
    async def broken(given, receive, send):
        raise ZeroDivisionError("a secret")

    app, counts = counting(broken)
    status, headers, body = ask(app, scope())
    assert status == 500
    assert json.loads(body)["id"].encode() == headers[b"x-request-id"]
    assert b"secret" not in body
    assert 'status="500"} 1.0' in counts()


def test_a_client_that_left_gets_no_answer():
    async def left(given, receive, send):
        raise ClientDisconnect

    app, counts = counting(left)
    assert ask(app, scope()) is None
    assert 'status="499"} 1.0' in counts()


def test_an_error_after_half_an_answer_ends_the_connection():
    async def half(given, receive, send):
        await send({"type": "http.response.start", "status": 200})
        raise ZeroDivisionError

    app, _ = counting(half)
    with pytest.raises(ZeroDivisionError):
        ask(app, scope())
