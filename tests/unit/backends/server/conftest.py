"""Servers on the loopback, and short pauses between attempts."""

import pytest

from rerank_plugins.backends._server import transport


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE_S", 0.001)


@pytest.fixture
def served():
    """Starts servers, which end with the test."""
    started = []

    def start(server):
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
