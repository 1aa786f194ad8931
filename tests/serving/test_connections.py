"""Clients that keep connections without ever finishing a request."""

import asyncio
import json
import socket
import time
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rerank_service import KEY, QUESTION, Slow, by_length, running, status_of, wait_until

from rerank_plugins import Reranker
from rerank_plugins.strategies import PairScore

SECONDS = 0.3
"""The deadline of the services here."""
SLACK = 4.0
"""Seconds that a busy machine may need beyond it."""

BODY = json.dumps(QUESTION).encode()
LENGTH = b"Content-Length: %d\r\n\r\n"
POST = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
KEYED = POST + b"Authorization: Bearer %s\r\n" % KEY.encode()
REQUESTS = [
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /health HTTP/1.0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n" + LENGTH % 10**9,
    POST + LENGTH % 1000,  # without the key
    KEYED + LENGTH % len(BODY) + BODY,
    b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"",
]


@pytest.fixture(scope="module")
def guarded():
    with running(by_length(), api_key=KEY, read_timeout_s=SECONDS) as url:
        yield url


def place(url):
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


async def seconds_until_closed(url, start, drip):
    """Send ``start``, then ``drip`` ten times within a deadline, until the service closes."""
    reader, writer = await asyncio.open_connection(*place(url))
    began = time.monotonic()

    async def dripping():
        writer.write(start)
        while drip:
            await asyncio.sleep(SECONDS / 10)
            writer.write(drip)

    slowly = asyncio.create_task(dripping())
    try:
        while await asyncio.wait_for(reader.read(2**16), 2 * SECONDS + SLACK):
            pass
    except ConnectionError:
        pass
    finally:
        slowly.cancel()
        writer.close()
    return time.monotonic() - began


@st.composite
def behaviours(draw):
    whole = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3)))
    return whole[: draw(st.integers(0, len(whole)))], draw(st.sampled_from([b"", b"x", b"\r\n"]))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(clients=st.lists(behaviours(), min_size=40, max_size=40))
def test_no_connection_is_kept_without_requests(guarded, clients):
    async def all_of_them():
        return await asyncio.gather(
            *(seconds_until_closed(guarded, start, drip) for start, drip in clients)
        )

    asyncio.run(all_of_them())  # each raises TimeoutError if it is kept
    assert status_of(f"{guarded}/health") == 200


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"", b""),
        (b"GET /health HTTP/1.1\r\nX: ", b"x"),
        (REQUESTS[0] + b"GET /health HTTP/1.1\r\nX: ", b"x"),  # the second one on a connection
        (REQUESTS[3], b"x"),  # a body that is not read
        (REQUESTS[4], b"x"),
    ],
)
def test_bytes_that_come_slowly_do_not_extend_the_deadline(guarded, start, drip):
    assert asyncio.run(seconds_until_closed(guarded, start, drip)) > SECONDS * 0.9


@contextmanager
def connections(url, number, start):
    with ExitStack() as stack:
        held = []
        for _ in range(number):
            held.append(stack.enter_context(socket.create_connection(place(url), timeout=10)))
            held[-1].sendall(start)
        yield held


def closed(sock):
    sock.settimeout(10)
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def test_one_connection_too_many_closes_the_oldest_without_a_request():
    with (
        running(by_length(), max_connections=3) as url,
        connections(url, 5, b"GET /health HTTP/1.1\r\nX: ") as held,
    ):
        assert all(map(closed, held[:2]))
        held[4].sendall(b"y\r\nHost: x\r\n\r\n")
        assert held[4].recv(12) == b"HTTP/1.1 200"
        assert status_of(f"{url}/health") == 200


def test_a_request_under_way_is_no_idle_connection():
    slow, whole = Slow(), POST + LENGTH % len(BODY) + BODY
    limits = {"max_connections": 2, "read_timeout_s": SECONDS}
    with running(Reranker(PairScore(), slow), **limits) as url, connections(url, 2, whole) as held:
        wait_until(lambda: slow.asked == 2)
        with connections(url, 1, whole) as more:
            assert closed(more[0])
        time.sleep(2 * SECONDS)  # a request under way has time until `timeout_s`
        slow.go.set()
        for one in held:
            one.settimeout(10)
            assert one.recv(12) == b"HTTP/1.1 200"


def test_an_answer_that_nobody_takes_is_given_up(guarded):
    question = {"query": "q", "documents": ["x" * 90_000] * 80, "return_documents": True}
    body = json.dumps(question).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(place(guarded))
        client.sendall(KEYED + LENGTH % len(body) + body)
        time.sleep(SECONDS + 2)
        client.settimeout(10)
        taken = bytearray()
        try:
            while part := client.recv(2**20):
                taken += part
        except ConnectionError:
            pass
    assert taken.startswith(b"HTTP/1.1 200")
    assert len(taken) < len(body)


def test_a_connection_is_kept_for_requests_that_come_in_time(guarded):
    with httpx.Client(base_url=guarded, limits=httpx.Limits(max_connections=1)) as client:
        streams = set()
        for _ in range(4):
            with client.stream("GET", "/health") as answer:
                assert answer.read()
                streams.add(answer.extensions["network_stream"])
            time.sleep(SECONDS / 2)
    assert len(streams) == 1
