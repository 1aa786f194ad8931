"""Faults, limits, cancellation and deadlines of requests."""

import asyncio
import gzip
import os
import random
import socket
import threading
import time
import traceback
import tracemalloc
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_server import MOODS, MoodyServer, OpenAIServer
from server_rankings import PROBES, best_first, dying_and_returning, moods_in_turn, of, passages

from rerank_plugins import BackendError, CallError, Limits, Reranker
from rerank_plugins._threads import in_thread
from rerank_plugins.backends import Balanced
from rerank_plugins.backends._server import transport
from rerank_plugins.backends._server.exchange import Request
from rerank_plugins.strategies import KeepOrder, SingleToken, SlidingWindow


@pytest.mark.parametrize("by_ids", [True, False])
@pytest.mark.parametrize("mood", sorted(set(MOODS) - {"silent"}))
def test_a_passing_fault_is_not_noticed(served, tokenizer, mood, by_ids):
    server = served(MoodyServer(moods_in_turn(None, None, mood), tokenizer=tokenizer))
    backend = of(server, tokenizer=tokenizer if by_ids else None, timeout_s=0.5)
    ranker = Reranker(SingleToken(), backend)
    assert ranker.rank("q", passages(6)).order == best_first(passages(6))
    assert asyncio.run(ranker.arank("q", passages(6))).order == best_first(passages(6))


@pytest.mark.parametrize("mood", MOODS)
def test_a_lasting_fault_is_an_error_or_a_reported_fallback(served, mood):
    gate = {"mood": None}
    server = served(MoodyServer(lambda: gate["mood"], stall_s=2.0))
    # Only a stall is about time: a busy machine must not fail the other moods in another way.
    backend = of(server, timeout_s=1.0 if mood == "stall" else 30.0, attempts=2)
    backend.warm_up()
    gate["mood"] = mood
    with pytest.raises(CallError):
        Reranker(SingleToken(), backend).rank("q", passages(6))
    with pytest.raises(CallError):
        asyncio.run(Reranker(SingleToken(), backend).arank("q", passages(6)))
    kept = Reranker(KeepOrder(inner=SingleToken()), backend).rank("q", passages(6))
    assert kept.order == tuple(range(6))
    assert len(kept.report.fallbacks) == 1


def test_a_server_that_dies_and_returns(served):
    server = served(OpenAIServer())
    backend = of(server, attempts=2)
    ranker = Reranker(SingleToken(), backend)
    assert ranker.rank("q", passages(6)).order == best_first(passages(6))
    server.close()
    with pytest.raises(BackendError, match="cannot be reached") as error:
        ranker.rank("q", passages(6))
    assert error.value.retryable
    served(OpenAIServer(port=server.port))
    assert ranker.rank("q", passages(6)).order == best_first(passages(6))


def test_a_retry_after_is_obeyed(served):
    server = served(OpenAIServer("too_many"))
    backend = of(server, attempts=2)
    waited = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "_pause", waited.append)
        with pytest.raises(BackendError) as error:
            Reranker(SingleToken(), backend).rank("q", passages(3))
    assert waited == [7.0]
    assert error.value.retry_after_s == 7.0
    assert error.value.retryable


@pytest.mark.parametrize("by_ids", [True, False])
def test_a_thousand_rankings_under_a_mix_of_faults(served, tokenizer, by_ids, monkeypatch):
    """None is lost or given twice; each is right, or says that it fell back.

    All of them happen: every mood of the server, and connections that it refuses while it is down.
    """
    mix = random.Random(7)
    quiet = threading.Event()
    lost, usual = Counter(), transport.lost
    monkeypatch.setattr(
        transport,
        "lost",
        lambda error: (lost.update([type(error).__name__]), usual(error))[1],
    )

    def mood():
        return None if quiet.is_set() or mix.random() < 0.6 else mix.choice(MOODS)

    quiet.set()
    server = served(MoodyServer(mood, stall_s=1.5, tokenizer=tokenizer))
    tokens = {"tokenizer": tokenizer} if by_ids else {}
    backend = of(server, timeout_s=1.0, attempts=3, max_concurrency=32, **tokens)
    backend.warm_up()
    quiet.clear()
    ranker = Reranker(KeepOrder(inner=SingleToken()), backend)
    queries = [(f"query {i}", passages(2 + i % 7, seed=i)) for i in range(1000)]

    async def all_of_them():
        return await asyncio.gather(*(ranker.arank(q, texts) for q, texts in queries))

    with dying_and_returning(server, up_s=1.0, down_s=0.3) as returns:
        rankings = asyncio.run(all_of_them())
    assert min(server.had[mood] for mood in (None, *MOODS)) >= 10
    assert len(returns) >= 2
    assert lost["ConnectError"] >= 10  # refused
    assert len(rankings) == 1000
    fell_back = 0
    for ranking, (_, texts) in zip(rankings, queries, strict=True):
        if ranking.report.fallbacks:
            assert ranking.order == tuple(range(len(texts)))
            fell_back += 1
        else:
            assert ranking.order == best_first(texts)
    assert 0 < fell_back < 500  # both ways were taken


def test_threads_under_a_mix_of_faults(served):
    mix, lock = random.Random(3), threading.Lock()

    def mood():
        with lock:
            return None if mix.random() < 0.7 else mix.choice(MOODS)

    server = served(MoodyServer(mood, stall_s=1.5))
    backend = of(server, timeout_s=1.0, attempts=3)
    ranker = Reranker(KeepOrder(inner=SlidingWindow(SingleToken(), size=4, stride=2)), backend)
    rankings = ranker.rank_many([("q", passages(10, seed=i)) for i in range(50)])
    for i, ranking in enumerate(rankings):
        assert sorted(ranking.order) == list(range(10))
        if not ranking.report.fallbacks:
            assert ranking.order[:2] == best_first(passages(10, seed=i))[:2]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_several_servers_of_which_one_dies_and_returns(served, colour):
    """No ranking notices, and the one that returned is asked again."""
    steady, mortal = served(OpenAIServer()), served(OpenAIServer())
    servers = [of(server, attempts=1) for server in (steady, mortal)]
    ranker = Reranker(SingleToken(), Balanced(servers, cooldown_s=0.05, max_cooldown_s=0.1))

    def rank_all():
        queries = [("q", passages(6, seed=i)) for i in range(60)]
        if colour == "sync":
            rankings = ranker.rank_many(queries)
        else:
            rankings = asyncio.run(ranker.arank_many(queries))
        assert [r.order for r in rankings] == [best_first(texts) for _, texts in queries]

    rank_all()
    mortal.die()
    before = len(mortal.asked)
    rank_all()
    assert len(mortal.asked) == before
    mortal.come_back()
    time.sleep(0.15)  # its rest
    rank_all()  # one trial, and then its share
    rank_all()
    assert len(mortal.asked) > before + 10


def test_64_at_once_keep_to_the_limit_and_lose_nothing(served):
    server = served(OpenAIServer("busy"))
    ranker = Reranker(SingleToken(), of(server, max_concurrency=8))

    async def rank():
        work = (ranker.arank("q", passages(5, seed=i)) for i in range(64))
        return await asyncio.gather(*work)

    rankings = asyncio.run(rank())
    for i, ranking in enumerate(rankings):
        assert ranking.order == best_first(passages(5, seed=i))
    assert 1 < server.most_at_once <= 8
    assert len(server.asked) == 64 + PROBES  # one of them asked what the server can do


def test_the_limit_is_made_use_of(served):
    server = served(OpenAIServer())
    backend = of(server, max_concurrency=8)
    backend.warm_up()
    server.faults.add("slow")
    before = len(server.asked)
    ranker = Reranker(SingleToken(), backend)

    async def rank():
        work = asyncio.gather(*(ranker.arank("q", passages(5, seed=i)) for i in range(20)))
        while len(server.asked) < before + 8:  # noqa: ASYNC110 - the server is in a thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # time for a ninth, were there one
        server.gate.set()
        return await work

    assert len(asyncio.run(rank())) == 20
    assert server.most_at_once == 8


def test_the_wait_for_a_place_is_not_the_servers(served):
    """Sixteen threads, one place, 50 ms an answer: the last waits longer than an answer may."""
    server = served(OpenAIServer())
    backend = of(server, max_concurrency=1, timeout_s=0.4, attempts=1)
    backend.warm_up()
    usual = server.answer
    server.answer = lambda *asked: (time.sleep(0.05), usual(*asked))[1]
    ranker = Reranker(SingleToken(), backend)
    with ThreadPoolExecutor(16) as pool:
        rankings = [*pool.map(lambda i: ranker.rank("q", passages(5, seed=i)), range(16))]
    assert [r.order for r in rankings] == [best_first(passages(5, seed=i)) for i in range(16)]


def test_what_nobody_waits_for_any_more_is_not_sent(served):
    server = served(OpenAIServer())
    backend = of(server, max_concurrency=1)
    backend.warm_up()
    server.faults.add("slow")
    before = len(server.asked)
    limits = Limits(timeout_s=0.3)
    ranker = Reranker(SingleToken(), backend, limits=limits, on_error="keep_order")
    with ThreadPoolExecutor(6) as pool:
        rankings = [*pool.map(lambda i: ranker.rank("q", passages(5, seed=i)), range(6))]
    assert all("0.3 seconds" in r.report.fallbacks[0] for r in rankings)
    server.gate.set()
    time.sleep(1.0)
    assert len(server.asked) == before + 1  # the one that was under way


def test_threads_keep_to_the_limit(served):
    server = served(OpenAIServer("busy"))
    ranker = Reranker(SingleToken(), of(server, max_concurrency=3))
    rankings = ranker.rank_many([("q", passages(5, seed=i)) for i in range(20)])
    assert [r.order for r in rankings] == [best_first(passages(5, seed=i)) for i in range(20)]
    assert server.most_at_once == 3


def test_a_slow_query_does_not_hold_up_the_others(served):
    server = served(OpenAIServer())
    backend = of(server, max_concurrency=4)
    backend.warm_up()
    usual = server.answer

    def slow(body, path):
        if "SLOW" in str(body):
            server.gate.wait(20)
        return usual(body, path)

    server.answer = slow
    ranker = Reranker(SingleToken(), backend)

    async def rank():
        held = asyncio.create_task(ranker.arank("SLOW", passages(5)))
        await asyncio.sleep(0.05)
        others = await asyncio.gather(*(ranker.arank("q", passages(5)) for _ in range(20)))
        assert not held.done()
        server.gate.set()
        return [*others, await held]

    rankings = asyncio.run(rank())
    assert {r.order for r in rankings} == {best_first(passages(5))}


def test_cancelling_stops_the_requests(served):
    server = served(OpenAIServer())
    backend = of(server, max_concurrency=4)
    backend.warm_up()
    server.faults.add("slow")
    before = len(server.asked)
    ranker = Reranker(SlidingWindow(SingleToken(), size=4, stride=2), backend)

    async def give_up():
        tasks = [asyncio.create_task(ranker.arank("q", passages(20, seed=i))) for i in range(12)]
        while len(server.asked) < before + 4:  # noqa: ASYNC110 - the server is in a thread
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(d, asyncio.CancelledError) for d in done)
        await asyncio.sleep(0.2)  # a loop closes its sockets when it comes round again
        server.gate.set()
        for _ in range(500):
            await asyncio.sleep(0.02)
            if server.left == 4:
                break

    asyncio.run(give_up())
    assert len(server.asked) == before + 4  # those that were under way, and no others
    assert server.left == 4  # and the server was told


def test_one_backend_on_several_loops_and_threads(served):
    backend = of(served(OpenAIServer()))
    ranker = Reranker(SingleToken(), backend)
    for _ in range(3):
        assert asyncio.run(ranker.arank("q", passages(4))).order == best_first(passages(4))
        assert ranker.rank("q", passages(4)).order == best_first(passages(4))
    assert len(backend._transport._on_loop) == 0  # a loop that ended leaves nothing behind
    backend.close()
    assert ranker.rank("q", passages(4)).order == best_first(passages(4))


def test_the_deadline_is_of_the_whole_attempt(served):
    """A server that sends a byte now and then is late all the same."""
    server = served(OpenAIServer())
    backend = of(server, attempts=1)
    backend.warm_up()

    def dripping(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)

    server.reply = dripping
    backend = of(server, attempts=1, timeout_s=0.2)
    with pytest.raises(BackendError, match=r"within 0\.2 seconds"):
        Reranker(SingleToken(), backend).rank("q", passages(3))
    with pytest.raises(BackendError, match=r"within 0\.2 seconds"):
        asyncio.run(Reranker(SingleToken(), backend).arank("q", passages(3)))


def of_bytes(body, *headers, chunk=2**16, pause_s=0.0):
    """A reply of these bytes; endless where the body is an iterator."""

    def reply(handler, _):
        handler.send_response(200)
        for header in headers:
            handler.send_header(*header)
        handler.send_header("Connection", "close")
        handler.end_headers()
        pieces = [body[i : i + chunk] for i in range(0, len(body), chunk)]
        with suppress(OSError):
            for piece in pieces:
                handler.wfile.write(piece)
                time.sleep(pause_s)

    return reply


def replies_with(served, colour, reply, **options):
    """The answer to a call after which the server replies in this way."""
    server = served(OpenAIServer())
    backend = of(server, attempts=1, **options)
    backend.warm_up()
    server.reply = reply
    ranker = Reranker(SingleToken(), backend)
    if colour == "sync":
        return lambda: ranker.rank("q", passages(3))
    return lambda: asyncio.run(ranker.arank("q", passages(3)))


def bomb(bits, megabytes):
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    return b"".join(packer.compress(b" " * 2**20) for _ in range(megabytes)) + packer.flush()


COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


@COLOURS
@pytest.mark.parametrize(
    ("coding", "body", "said"),
    [
        ("gzip", bomb(31, 64), "larger than 32 MiB"),
        ("x-gzip", bomb(31, 64), "larger than 32 MiB"),
        ("deflate", bomb(15, 64), "larger than 32 MiB"),
        ("deflate", bomb(-15, 64), "larger than 32 MiB"),
        ("identity", b" " * (33 * 2**20), "larger than 32 MiB"),
        ("gzip, gzip", bomb(31, 1), "compressed as 'gzip, gzip'"),
        ("br", b"x", "compressed as 'br'"),
        ("zstd", b"x", "compressed as 'zstd'"),
        ("gzip", b"not gzip at all", "cannot be decompressed"),
        ("gzip", bomb(31, 1)[:-8] + b"?" * 8, "cannot be decompressed"),
    ],
)
def test_the_size_of_an_answer_is_bounded_while_it_is_read(served, colour, coding, body, said):
    rank = replies_with(served, colour, of_bytes(body, ("Content-Encoding", coding)))
    with pytest.raises(BackendError, match=said):
        rank()


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([("gzip", 31), ("deflate", 15), ("deflate", -15), ("identity", 0)]),
    st.integers(1, 50),
)
def test_a_body_is_read_as_it_was_sent(content, coding, size):
    name, bits = coding
    packer = zlib.compressobj(9, zlib.DEFLATED, bits) if bits else None
    sent = packer.compress(content) + packer.flush() if packer else content
    body = transport._Body({"content-encoding": name})
    for start in range(0, len(sent), size):
        body.add(sent[start : start + size])
    assert bytes(body.content) == content


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["gzip", "deflate", ""]), st.lists(st.binary(max_size=40)))
def test_any_bytes_are_a_body_or_an_error(coding, chunks):
    body = transport._Body({"content-encoding": coding})
    try:
        for chunk in chunks:
            body.add(chunk)
    except BackendError:
        pass
    assert len(body.content) <= transport.LARGEST_ANSWER


def drip_headers(handler, _):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for i in range(60):
        handler.wfile.write(b"X-%d: a\r\n" % i)
        handler.wfile.flush()
        time.sleep(0.1)


def drip_status_lines(handler, _):
    for _ in range(60):
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        handler.wfile.flush()
        time.sleep(0.1)


@COLOURS
@pytest.mark.parametrize(
    "reply",
    [
        drip_headers,
        drip_status_lines,
        of_bytes(b" " * 60, chunk=1, pause_s=0.1),
        of_bytes(b"1\r\n \r\n" * 60, ("Transfer-Encoding", "chunked"), chunk=6, pause_s=0.1),
    ],
    ids=["headers", "hints", "body", "chunks"],
)
def test_the_deadline_holds_against_a_server_that_drips(served, colour, reply):
    rank = replies_with(served, colour, reply, timeout_s=0.5)
    begun = time.monotonic()
    with pytest.raises(BackendError, match=r"within 0\.5 seconds"):
        rank()
    assert time.monotonic() - begun < 3


@COLOURS
def test_a_server_s_cookies_are_not_kept(served, colour):
    """Else each answer could make all later requests larger."""
    server = served(OpenAIServer())
    heads = []

    def reply(handler, _):
        heads.append(handler.headers)
        handler.send_response(200)
        handler.send_header("Set-Cookie", f"c{len(heads)}=x; Path=/")
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    server.reply = reply
    options = {"timeout_s": 5.0, "attempts": 1, "max_concurrency": 1}
    sender = transport.Transport(base=server.url, headers={}, **options)
    request = Request("chat/completions", {"model": "m"})

    async def twice():
        return [await sender.asend(request) for _ in range(2)]

    found = [sender.send(request), sender.send(request)] if colour == "sync" else None
    assert (found or asyncio.run(twice())) == [{}, {}]
    assert [head["Cookie"] for head in heads] == [None, None]


def slow(seconds, asked):
    """A look-up that takes so long, and its addresses."""

    def getaddrinfo(*arguments, **_):
        asked.append(arguments[0])
        time.sleep(seconds)
        raise OSError("no such name")

    return getaddrinfo


@COLOURS
def test_the_deadline_holds_while_a_name_is_looked_up(monkeypatch, colour):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", slow(2.0, asked))
    options = {"timeout_s": 0.3, "attempts": 1, "max_concurrency": 1}
    sender = transport.Transport(base="http://slow.invalid/v1", headers={}, **options)
    begun = time.monotonic()
    if colour == "sync":
        found = sender.send(Request("models"))
    else:

        async def one():  # without the loop's own wait for its threads
            found = await sender.asend(Request("models"))
            return found, time.monotonic() - begun

        found, seconds = asyncio.run(one())
        begun = time.monotonic() - seconds
    assert time.monotonic() - begun < 1.5
    assert "within 0.3 seconds" in str(found)
    assert asked


def test_the_deadline_is_of_all_addresses_together(monkeypatch):
    """Five addresses that swallow what is sent: each may take no more than what is left."""
    tried = []

    def connect(address, timeout=None, **_):
        for _ in range(5):  # as socket.create_connection tries them
            tried.append(address)
            time.sleep(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    options = {"timeout_s": 0.4, "attempts": 1, "max_concurrency": 1}
    sender = transport.Transport(base="http://127.0.0.1:9/v1", headers={}, **options)
    begun = time.monotonic()
    found = sender.send(Request("models"))
    assert time.monotonic() - begun < 1.2
    assert "within 0.4 seconds" in str(found)
    assert found.retryable
    assert tried


def test_a_kept_connection_obeys_the_deadline_of_each_attempt():
    """One connection, three requests: the deadline of the first must not end the later ones."""

    class Kept(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        connections = 0

        def setup(self):
            super().setup()
            Kept.connections += 1

        def log_message(self, *args):
            pass

        def do_GET(self):
            time.sleep(0.2)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Kept)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    sender = transport.Transport(
        base=f"http://127.0.0.1:{server.server_port}",
        headers={},
        timeout_s=0.5,
        attempts=1,
        max_concurrency=1,
    )
    try:
        assert [sender.send(Request("models")) for _ in range(4)] == [{}] * 4
        assert Kept.connections == 1
    finally:
        sender.close()
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("held", [False, True])
def test_a_forked_process_has_its_own_connections(served, held):
    """Also where a thread of the parent held the locks when it forked."""
    backend = of(served(OpenAIServer()), timeout_s=20)
    ranker = Reranker(SingleToken(), backend)
    ranker.rank("q", passages(4))
    client = backend._transport._client
    locks = [backend._lock, backend._transport._lock, backend._probing._lock] if held else []
    with ExitStack() as taken:
        for lock in locks:
            taken.enter_context(lock)
        child = os.fork()
        if not child:
            right = False
            with suppress(BaseException):
                order = in_thread(lambda: ranker.rank("q", passages(5)).order).future.result(20)
                own = backend._transport._client
                right = order == best_first(passages(5)) and own not in (None, client)
            os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert backend._transport._client is client  # and the parent keeps its own
    assert ranker.rank("q", passages(4)).order == best_first(passages(4))


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_what_a_client_raises_shows_no_key(monkeypatch, colour):
    key = "sk-secret-0123456789"

    def stream(self, **arguments):
        raise httpx.ConnectError(f"Illegal header value b'Bearer {key}'")

    monkeypatch.setattr(httpx.Client, "stream", stream)
    monkeypatch.setattr(httpx.AsyncClient, "stream", stream)
    options = {"timeout_s": 5.0, "attempts": 1, "max_concurrency": 1, "secrets": (key,)}
    sender = transport.Transport(base="http://localhost:1/v1", headers={}, **options)
    request = Request("models")
    found = sender.send(request) if colour == "sync" else asyncio.run(sender.asend(request))
    shown = "".join(traceback.format_exception(found))
    assert "cannot be reached" in str(found)
    assert key not in shown


def test_a_bomb_is_not_unpacked_into_memory(monkeypatch):
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 2**20)
    bomb = gzip.compress(bytes(2**26))
    body = transport._Body({"content-encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(BackendError, match="larger than"):
            body.add(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**23
