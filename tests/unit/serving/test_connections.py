"""The number of connections that uvicorn is told to take."""

import resource

import pytest

from rerank_plugins import Reranker
from rerank_plugins.serving import ServiceSettings, create_app
from rerank_plugins.serving import _server as server
from rerank_plugins.serving._connections import LimitedConnection, limited_connections, open_files
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle


def test_open_files_are_the_limit_of_this_process():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert open_files() == (float("inf") if soft == resource.RLIM_INFINITY else soft)


@pytest.mark.parametrize(
    ("files", "asked", "taken"),
    [(200, 1000, 150), (float("inf"), 1000, 1000), (4096, 1000, 1000), (1, 5, 1)],
)
def test_connections_are_at_most_three_quarters_of_the_files(monkeypatch, files, asked, taken):
    monkeypatch.setattr(server, "open_files", lambda: files)
    settings = ServiceSettings(max_connections=asked, read_timeout_s=7)
    app = create_app(Reranker(PairScore(), Oracle()), settings=settings)
    found = server.configured(app, settings, host="127.0.0.1", port=0).http
    assert (found.most, found.seconds) == (taken, 7)


def test_two_services_have_limits_of_their_own():
    one, other = limited_connections(1.0, 2), limited_connections(3.0, 4)
    assert (one.seconds, one.most, other.seconds, other.most) == (1.0, 2, 3.0, 4)
    assert issubclass(one, LimitedConnection)
