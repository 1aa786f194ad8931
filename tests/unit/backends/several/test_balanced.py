"""Several backends as one: who is asked, who rests, and that no call is lost."""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugins import (
    BackendError,
    ConfigurationError,
    ContractError,
    InputError,
    Limits,
    PromptTooLongError,
    Reranker,
)
from rerank_plugins._threads import abandoned
from rerank_plugins.backends import Balanced, Routed, TransformersBackend
from rerank_plugins.backends._several import pool
from rerank_plugins.calls import Generate, Reply, ScorePair
from rerank_plugins.handlers import async_handler, is_async, sync_handler
from rerank_plugins.middleware import retried
from rerank_plugins.registry import from_spec, to_spec
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle, Scripted

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


def calls(n, start=0):
    return [ScorePair("q", str(i)) for i in range(start, start + n)]


def ask(backend, batch, colour="sync"):
    if colour == "sync":
        return sync_handler(backend)(batch)
    return asyncio.run(async_handler(backend)(batch))


class Server:
    """Answers with the passage as a number; what ``trouble`` returns for a call fails it."""

    def __init__(self, trouble=lambda call: None):
        self.trouble = trouble
        self.batches = []

    @property
    def asked(self):
        return [call for batch in self.batches for call in batch]

    def run(self, batch):
        self.batches.append(list(batch))
        if isinstance(self.trouble, Exception):
            raise self.trouble
        return [self.trouble(call) or Reply(float(call.passage)) for call in batch]

    async def arun(self, batch):
        await asyncio.sleep(0)
        return self.run(batch)


def down(call=None):
    return BackendError("down", retryable=True)


def numbers(replies):
    return [reply.answer for reply in replies]


@pytest.fixture
def clock(monkeypatch):
    """The clock of every fleet: set ``clock.now``."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(pool, "monotonic", lambda: Clock.now)
    return Clock


@COLOURS
def test_an_idle_fleet_shares_a_batch_evenly(colour):
    servers = [Server(), Server(), Server()]
    backend = Balanced(backends=servers)
    assert numbers(ask(backend, calls(9), colour)) == list(map(float, range(9)))
    assert [len(server.asked) for server in servers] == [3, 3, 3]
    assert [len(server.batches) for server in servers] == [1, 1, 1]  # one batch each, not 9


def test_single_calls_go_round():
    servers = [Server(), Server()]
    backend = Balanced(backends=servers)
    for call in calls(6):
        ask(backend, [call])
    assert [len(server.asked) for server in servers] == [3, 3]


def test_equal_calls_of_a_batch_stay_together():
    servers = [Server(), Server()]
    ask(Balanced(backends=servers), [*calls(3), *calls(3)])
    assert not set(servers[0].asked) & set(servers[1].asked)
    assert len(servers[0].asked) + len(servers[1].asked) == 6


def test_an_empty_batch_asks_nobody():
    server = Server()
    assert ask(Balanced(backends=[server]), []) == []
    assert server.batches == []


def test_calls_go_where_the_fewest_are_under_way_on_a_loop():
    """The slow one is busy with 3 of the first 6 calls: the next 3 all go to the other."""

    class Slow(Server):
        async def arun(self, batch):
            await go.wait()
            return self.run(batch)

    async def scene():
        first = asyncio.create_task(backend.arun(calls(6)))
        for _ in range(20):  # until the quick one has answered
            await asyncio.sleep(0)
        for i in range(3):
            await asyncio.wait_for(backend.arun(calls(1, start=6 + i)), 30)
        assert len(quick.asked) == 3 + 3
        go.set()
        return await first

    go = asyncio.Event()
    slow, quick = Slow(), Server()
    backend = Balanced(backends=[slow, quick])
    assert numbers(asyncio.run(scene())) == list(map(float, range(6)))
    assert len(slow.asked) == 3


def test_calls_go_where_the_fewest_are_under_way_in_threads():
    class Slow(Server):
        def run(self, batch):
            begun.set()
            assert go.wait(60)
            return super().run(batch)

    begun, go = threading.Event(), threading.Event()
    slow, quick = Slow(), Server()
    backend = Balanced(backends=[slow, quick])
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(backend.run, calls(6))
        assert begun.wait(60)
        while backend._pool.servers[1].under_way:
            time.sleep(0.001)
        for i in range(3):
            backend.run(calls(1, start=6 + i))
        assert len(quick.asked) == 3 + 3
        go.set()
        assert numbers(first.result(60)) == list(map(float, range(6)))


@COLOURS
@pytest.mark.parametrize(
    "trouble", [down, ConnectionError("refused"), TimeoutError("late"), ZeroDivisionError("oops")]
)
def test_what_fails_is_asked_again_elsewhere_and_the_sick_one_rests(colour, trouble, clock):
    sick, well = Server(trouble), Server()
    backend = Balanced(backends=[sick, well], cooldown_s=10.0)
    assert numbers(ask(backend, calls(4), colour)) == [0.0, 1.0, 2.0, 3.0]
    assert len(sick.asked) == 2
    clock.now += 9.9
    assert numbers(ask(backend, calls(4), colour)) == [0.0, 1.0, 2.0, 3.0]
    assert len(sick.asked) == 2  # left out
    assert Counter(well.asked) == Counter([*calls(4), *calls(4)])


@COLOURS
def test_only_the_failed_calls_of_a_batch_are_asked_again(colour):
    partly, well = Server(lambda call: down() if call.passage == "0" else None), Server()
    assert numbers(ask(Balanced(backends=[partly, well]), calls(4), colour)) == [0.0, 1.0, 2.0, 3.0]
    assert sorted(call.passage for call in [*partly.asked, *well.asked]) == list("00123")


@COLOURS
def test_after_the_rest_one_call_decides(colour, clock):
    server, other = Server(down), Server()
    backend = Balanced(backends=[server, other], cooldown_s=10.0, max_cooldown_s=35.0)
    ask(backend, calls(1), colour)
    for rest in (10.0, 20.0, 35.0, 35.0):  # doubled while it stays sick, up to the maximum
        server.batches.clear()
        clock.now += rest - 0.1
        ask(backend, calls(8), colour)
        assert server.asked == []
        clock.now += 0.1
        assert numbers(ask(backend, calls(8), colour)) == list(map(float, range(8)))
        assert len(server.asked) == 1  # the trial, which failed
    clock.now += 35.0
    server.trouble = lambda call: None
    ask(backend, calls(8), colour)
    assert len(server.asked) == 2  # the trial, which went well
    server.batches.clear()
    other.batches.clear()
    ask(backend, calls(8), colour)
    assert len(server.asked) >= 4  # as many as the other, and what it is behind
    server.trouble = down
    ask(backend, calls(8), colour)
    server.batches.clear()
    clock.now += 10.0  # well again, so the first rest is the short one again
    ask(backend, calls(2), colour)
    assert len(server.asked) == 1


def test_one_trial_at_a_time(clock):
    """While the deciding call hangs, others don't follow it."""

    class Hangs(Server):
        async def arun(self, batch):
            self.batches.append(batch)
            begun.set()
            await go.wait()
            return [Reply(float(call.passage)) for call in batch]

    async def scene():
        await backend.arun(calls(2))
        clock.now += 1.0
        server.__class__ = Hangs
        trial = asyncio.create_task(backend.arun(calls(1)))
        await begun.wait()
        clock.now += 1000.0
        await asyncio.wait_for(backend.arun(calls(4)), 30)
        assert len(server.batches) == 2
        go.set()
        assert numbers(await trial) == [0.0]
        await backend.arun(calls(4))
        assert len(server.batches) == 3

    begun, go = asyncio.Event(), asyncio.Event()
    server = Server(down)
    backend = Balanced(backends=[server, Server()], cooldown_s=1.0)
    asyncio.run(scene())


def test_calls_that_fail_together_count_once(clock):
    """Eight batches meet the failure at once: the rest is the first one, not doubled."""

    async def scene():
        await asyncio.gather(*(backend.arun(calls(2, start=2 * i)) for i in range(8)))
        server.batches.clear()
        clock.now += 10.0
        await backend.arun(calls(4))
        assert len(server.asked) == 1

    server = Server(down)
    backend = Balanced(backends=[server, Server()], cooldown_s=10.0, max_cooldown_s=1e6)
    asyncio.run(scene())


def test_a_late_failure_does_not_prolong_the_rest(clock):
    """A call that was under way when the server fell sick fails 8 seconds into its rest of 10."""

    class Late(Server):
        async def arun(self, batch):
            begun.set()
            await go.wait()
            return self.run(batch)

    async def scene():
        server.__class__ = Late
        late = asyncio.create_task(backend.arun(calls(1)))
        await begun.wait()
        server.__class__ = Server
        await backend.arun(calls(4))  # it falls sick
        clock.now += 8.0
        go.set()
        await late
        server.batches.clear()
        clock.now += 2.0
        await backend.arun(calls(4))
        assert len(server.asked) == 1  # the trial, in time

    begun, go = asyncio.Event(), asyncio.Event()
    server = Server(down)
    backend = Balanced(backends=[server, Server()], cooldown_s=10.0)
    asyncio.run(scene())


@COLOURS
def test_when_all_are_sick_the_one_whose_rest_ends_first_is_tried(colour, clock):
    def patient(call):
        return BackendError("busy", retryable=True, retry_after_s=50.0)

    first, second = Server(patient), Server(down)
    backend = Balanced(backends=[first, second], cooldown_s=5.0)
    [reply] = ask(backend, calls(1), colour)
    assert isinstance(reply, BackendError)
    assert (len(first.asked), len(second.asked)) == (1, 1)  # each once, then it is the answer
    second.trouble = lambda call: None
    assert numbers(ask(backend, calls(3), colour)) == [0.0, 1.0, 2.0]
    assert (len(first.asked), len(second.asked)) == (1, 4)
    clock.now += 49.0
    ask(backend, calls(1), colour)
    assert len(first.asked) == 1  # it asked for 50 seconds
    clock.now += 1.0
    ask(backend, calls(1), colour)
    assert len(first.asked) == 2


@COLOURS
def test_all_sick_for_good(colour):
    servers = [Server(down), Server(ConnectionError("refused")), Server(ZeroDivisionError("oops"))]
    backend = Balanced(backends=servers)
    for _ in range(3):
        replies = ask(backend, calls(6), colour)
        assert [type(reply) for reply in replies] == [BackendError] * 6
    assert [Counter(server.asked) for server in servers] == [Counter(calls(6) * 3)] * 3


@COLOURS
def test_an_error_that_is_an_answer_is_no_sickness(colour, clock):
    long = Server(lambda call: PromptTooLongError(3))
    other = Server(lambda call: PromptTooLongError(4))
    backend = Balanced(backends=[long, other], cooldown_s=1e6, max_cooldown_s=1e6)
    for _ in range(3):
        replies = ask(backend, calls(2), colour)
        assert [reply.excess_tokens for reply in replies] == [3, 4]
    assert (len(long.asked), len(other.asked)) == (3, 3)


@COLOURS
def test_one_that_raises_an_answer_is_not_asked_twice(colour):
    servers = [Server(PromptTooLongError(1)), Server(PromptTooLongError(1))]
    replies = ask(Balanced(backends=servers), calls(2), colour)
    assert [type(reply) for reply in replies] == [PromptTooLongError] * 2
    assert [len(server.asked) for server in servers] == [1, 1]


@COLOURS
@pytest.mark.parametrize("error", [ConfigurationError("no model"), ContractError("broken")])
def test_a_wrong_setup_is_raised_as_itself(colour, error):
    backend = Balanced(backends=[Server(), Server(error)])
    with pytest.raises(type(error), match=str(error)):
        ask(backend, calls(4), colour)
    assert [server.under_way for server in backend._pool.servers] == [0, 0]


@COLOURS
def test_a_backend_that_loses_replies_is_broken(colour):
    class Loses(Server):
        def run(self, batch):
            return super().run(batch)[:-1]

    with pytest.raises(ContractError, match="Loses gave 1 replies to 2 calls"):
        ask(Balanced(backends=[Loses()]), calls(2), colour)


@COLOURS
@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), rate=st.sampled_from([0.1, 0.5, 0.9]))
def test_a_thousand_calls_none_lost_or_duplicated(colour, seed, rate):
    """Each call gets its own answer or a failure, and no backend is asked the same one twice."""
    import random

    source = random.Random(seed)

    class Flaky(Server):
        def run(self, batch):
            if source.random() < rate / 4:
                self.batches.append(list(batch))
                raise source.choice([ConnectionError("reset"), ValueError("bug")])
            return super().run(batch)

    servers = [Flaky(lambda call: down() if source.random() < rate else None) for _ in range(3)]
    backend = Balanced(backends=servers, cooldown_s=1e-9)
    done = 0
    while done < 1000:
        size = min(source.randint(1, 60), 1000 - done)
        replies = ask(backend, calls(size, start=done), colour)
        assert len(replies) == size
        for call, reply in zip(calls(size, start=done), replies, strict=True):
            if isinstance(reply, Reply):
                assert reply.answer == float(call.passage)
            else:  # only when every one of them failed it
                assert all(call in server.asked for server in servers)
        done += size
    for server in servers:
        assert max(Counter(server.asked).values()) == 1
    assert {call.passage for server in servers for call in server.asked} == set(
        map(str, range(1000))
    )
    assert [server.under_way for server in backend._pool.servers] == [0, 0, 0]


def test_many_threads_and_a_server_that_comes_and_goes():
    lock, count = threading.Lock(), [0]

    def unsteady(call):
        with lock:
            count[0] += 1
            return down() if count[0] // 50 % 2 else None

    servers = [Server(unsteady), Server(), Server()]
    backend = Balanced(backends=servers, cooldown_s=1e-6)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: backend.run(calls(20, start=20 * i)), range(100)))
    assert [r.answer for replies in found for r in replies] == list(map(float, range(2000)))
    assert [server.under_way for server in backend._pool.servers] == [0, 0, 0]


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_cancelling_stops_the_calls_and_gives_back_the_load(steps, clock):
    """Also before anything has begun, and while one of the servers is on trial."""
    stopped = []

    class Hangs(Server):
        async def arun(self, batch):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                stopped.append(len(batch))
                raise

    async def scene():
        await backend.arun(calls(1))  # the first server falls sick
        clock.now += 10.0
        for server in servers:
            server.__class__ = Hangs
        task = asyncio.create_task(backend.arun(calls(9)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    servers = [Server(down), Server()]
    backend = Balanced(backends=servers, cooldown_s=1.0)
    asyncio.run(scene())
    assert sorted(stopped) == ([1, 8] if steps else [])
    state = [(server.under_way, server.probing) for server in backend._pool.servers]
    assert state == [(0, False)] * 2
    servers[0].trouble = lambda call: None
    for server in servers:
        server.__class__ = Server
    assert numbers(ask(backend, calls(2))) == [0.0, 1.0]


def test_work_that_nobody_waits_for_hears_of_it_in_every_thread():
    heard = threading.Barrier(3)

    class Long(Server):
        def run(self, batch):
            while not abandoned():
                pass
            heard.wait(60)
            return [down() for _ in batch]

    reranker = Reranker(
        PairScore(),
        Balanced(backends=[Long(), Long()]),
        on_error="keep_order",
        limits=Limits(timeout_s=0.1),
    )
    assert reranker.rank("q", ["1", "2"]).order == (0, 1)
    heard.wait(60)  # or BrokenBarrierError


@COLOURS
def test_warm_up(colour):
    told = []

    class Warm(Server):
        def __init__(self, name, error=None):
            super().__init__()
            self.name, self.error = name, error

        def warm_up(self):
            told.append(self.name)
            if self.error:
                raise self.error

        def close(self):
            told.append(f"{self.name} closed")

    def warm(backend):
        return backend.warm_up() if colour == "sync" else asyncio.run(backend.awarm_up())

    absent, here = Warm("absent", ConnectionError("refused")), Warm("here")
    backend = Balanced(backends=[absent, here, Server()])
    warm(backend)
    assert told == ["absent", "here"]
    ask(backend, calls(4), colour)
    assert absent.asked == []  # sick before it was asked anything
    backend.close() if colour == "sync" else asyncio.run(backend.aclose())
    assert told[2:] == ["absent closed", "here closed"]
    with pytest.raises(BackendError, match="refused"):
        warm(Balanced(backends=[absent, Warm("b", BackendError("no"))]))
    with pytest.raises(ConfigurationError, match="no such model"):
        warm(Balanced(backends=[Warm("wrong", ConfigurationError("no such model")), Server()]))


def test_kinds_are_what_all_answer():
    class Pairs(Server):
        kinds = frozenset({ScorePair, Generate})

    assert Balanced(backends=[Pairs(), Oracle()]).kinds == {ScorePair, Generate}
    assert Balanced(backends=[Pairs(), Server()]).kinds is None
    with pytest.raises(ConfigurationError, match="Balanced"):
        Reranker("query-likelihood", Balanced(backends=[Pairs(), Oracle()]))


class Threaded:
    """A local model: synchronous only."""

    def run(self, batch):
        return Oracle().run(batch)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (Balanced(backends=[Oracle(), Server()]), True),
        (Balanced(backends=[Oracle(), Threaded()]), False),
        (Balanced(backends=[retried(Threaded()), Server()]), False),
        (retried(Balanced(backends=[Oracle(), Threaded()])), False),
        (Routed(text=Oracle()), True),
        (Routed(text=Threaded()), False),
        (Routed(text=Oracle(), pairs=Threaded()), False),
        (Routed(text=Balanced(backends=[Oracle(), Server()]), search=Oracle()), True),
    ],
)
def test_it_is_asynchronous_where_all_inside_are(backend, expected):
    assert is_async(backend) is expected


def test_local_models_get_the_common_batches_of_many_queries():
    class Local(Threaded):
        def __init__(self):
            self.batches = []

        def run(self, batch):
            self.batches.append(len(batch))
            return super().run(batch)

    locals_ = [Local(), Local()]
    reranker = Reranker(PairScore(), Balanced(backends=locals_))
    rankings = asyncio.run(reranker.arank_many([(f"q{i}", ["a", "b"]) for i in range(4)]))
    assert [sorted(ranking.order) for ranking in rankings] == [[0, 1]] * 4
    assert [local.batches for local in locals_] == [[4], [4]]


def test_a_spec_holds_the_specs_of_all():
    import json

    backend = Balanced(
        backends=(TransformersBackend("a", device="cpu"), TransformersBackend("b")), cooldown_s=2.0
    )
    spec = json.loads(json.dumps(to_spec("backends", backend)))
    assert spec["name"] == "balanced"
    again = from_spec("backends", spec)
    assert [(b.model, b.device) for b in again.backends] == [("a", "cpu"), ("b", "auto")]
    assert again.cooldown_s == 2.0
    assert to_spec("backends", again) == spec
    with pytest.raises(ConfigurationError, match="cannot be written"):
        to_spec("backends", Balanced(backends=[Scripted([])]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"backends": ()}, "at least one"),
        ({"backends": Oracle()}, "at least one"),
        ({"backends": [Oracle]}, r"backends\[0\] is .* not a backend"),
        ({"backends": ["transformers"]}, r"backends\[0\] is 'transformers'"),
        ({"backends": [Oracle(), None]}, r"backends\[1\]"),
        ({"backends": [Oracle()], "cooldown_s": 0}, "cooldown_s is 0"),
        ({"backends": [Oracle()], "cooldown_s": float("nan")}, "cooldown_s is nan"),
        ({"backends": [Oracle()], "max_cooldown_s": 0.5}, "max_cooldown_s 0.5"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(InputError, match=says):
        Balanced(**arguments)


def test_one_backend_cannot_be_given_twice():
    server = Server()
    with pytest.raises(InputError, match=r"backends\[2\] is given twice"):
        Balanced(backends=[server, Server(), server])
