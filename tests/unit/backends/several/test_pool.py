"""The choice among servers, with a clock of one's own."""

import pytest

from rerank_plugins import BackendError
from rerank_plugins.backends._several import pool
from rerank_plugins.backends._several.pool import Pool
from rerank_plugins.calls import Reply, ScorePair

CALLS = [ScorePair("q", str(i)) for i in range(4)]


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(pool, "monotonic", lambda: Clock.now)
    return Clock


def ask(servers, calls, failing=(), **error):
    """Ask one batch; the servers in ``failing`` fail. Returns why and how much each was asked."""
    asked = []
    with servers.parts(calls, ()) as parts:
        for part in parts:
            asked.append((servers.servers.index(part.server), part.how, len(part.calls)))
            with servers.asking(part):
                down = BackendError("down", retryable=True, **error)
                bad = asked[-1][0] in failing
                part.replies = [down if bad else Reply(0.0) for _ in part.calls]
    return asked


def test_a_batch_is_shared_by_load(clock):
    servers = Pool([object(), object()], 1.0, 60.0)
    assert ask(servers, CALLS) == [(0, "as usual", 2), (1, "as usual", 2)]
    assert ask(servers, [CALLS[0]] * 3) == [(0, "as usual", 3)]  # equal calls stay together
    assert [server.under_way for server in servers.servers] == [0, 0]


def test_a_cooldown_ends_with_a_probe_and_doubles_up_to_its_maximum(clock):
    servers = Pool([object(), object()], 10.0, 15.0)
    ask(servers, CALLS, failing={0})
    assert servers.servers[0].cooldown_ends == 110.0
    assert ask(servers, CALLS) == [(1, "as usual", 4)]
    clock.now = 110.0
    assert (0, "probe", 1) in ask(servers, CALLS, failing={0})
    assert servers.servers[0].cooldown_ends == 125.0  # 10 doubled, at most 15
    clock.now = 125.0
    assert (0, "probe", 1) in ask(servers, CALLS)
    assert servers.servers[0].cooldown_s == 0.0


def test_a_longer_pause_that_the_server_asks_for_is_obeyed(clock):
    servers = Pool([object()], 10.0, 60.0)
    ask(servers, CALLS, failing={0}, retry_after_s=30.0)
    assert servers.servers[0].cooldown_ends == 130.0
    assert ask(servers, CALLS) == [(0, "last resort", 4)]  # there is no other
    assert servers.servers[0].cooldown_s == 0.0


def test_a_server_that_asks_for_a_day_is_asked_again_after_a_minute(clock):
    servers = Pool([object()], 10.0, 60.0)
    ask(servers, CALLS, failing={0}, retry_after_s=86_400.0)
    assert servers.servers[0].cooldown_ends == 160.0
