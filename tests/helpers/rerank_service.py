"""A rerank service on the loopback, and rerankers for it."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import uvicorn

from rerank_plugins import Reranker
from rerank_plugins.calls import Reply
from rerank_plugins.serving import ServiceSettings, create_app
from rerank_plugins.serving._server import configured
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")
DOCUMENTS = ["a cat", "a flea lives for months", "a dog barks"]
QUESTION = {"query": "flea", "documents": DOCUMENTS}
KEY = "the-key-of-this-test"


def by_length():
    return Reranker(PairScore(), Oracle(key=lambda query, passage: len(passage)))


@contextmanager
def running(reranker, *, api_key=None, **limits):
    """The URL of a service, which ends with the block."""
    settings = ServiceSettings(**limits)
    app = create_app(reranker, api_key=api_key, settings=settings)
    with listening() as sock:
        server = uvicorn.Server(configured(app, settings, host="127.0.0.1", port=0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            wait_until(lambda: status_of(f"{url}/ready") in (200, 503))
            yield url
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


@contextmanager
def listening():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def status_of(url):
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return None


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


class Slow:
    """Answers when it is let go."""

    model = "slow"
    kinds = Oracle.kinds

    def __init__(self):
        self.go = threading.Event()
        self.asked = self.cancelled = self.at_once = self.most_at_once = 0

    async def arun(self, calls):
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            while not self.go.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        return [Reply(float(len(call.passage))) for call in calls]

    def close(self):
        pass
