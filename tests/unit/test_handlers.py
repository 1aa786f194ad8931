"""Calling a backend from either colour: what it raises, and how long it may take."""

import asyncio
import contextvars
import threading
import time

import pytest

from rerank_plugins import (
    BackendError,
    BudgetError,
    ConfigurationError,
    InputError,
    Limits,
    Reranker,
)
from rerank_plugins.calls import ScorePair
from rerank_plugins.handlers import async_handler, sync_handler
from rerank_plugins.middleware import guarded
from rerank_plugins.strategies import QueryLikelihood, SingleToken, SlidingWindow
from rerank_plugins.testing import Oracle

CALLS = [ScorePair("q", "a"), ScorePair("q", "b")]


class Raises:
    def __init__(self, error):
        self.error = error

    def run(self, calls):
        raise self.error


class RaisesOnTheLoop(Raises):
    run = None

    async def arun(self, calls):
        raise self.error


class Stalls:
    """Answers when told to."""

    def __init__(self):
        self.go = threading.Event()

    def run(self, calls):
        self.go.wait(60)
        return Oracle().run(calls)


def ask(backend, colour, timeout_s=None):
    if colour == "sync":
        return sync_handler(backend, timeout_s)(CALLS)
    return asyncio.run(async_handler(backend, timeout_s)(CALLS))


COLOURS = pytest.mark.parametrize(
    ("backend", "colour"),
    [(Raises, "sync"), (Raises, "async"), (RaisesOnTheLoop, "async")],
    ids=["sync", "thread", "loop"],
)
TIMEOUTS = pytest.mark.parametrize("timeout_s", [None, 60])


@COLOURS
@TIMEOUTS
@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("mine"), KeyboardInterrupt()])
def test_what_a_backend_raises_is_raised(backend, colour, timeout_s, error):
    with pytest.raises(type(error)) as raised:
        ask(backend(error), colour, timeout_s)
    assert repr(raised.value) == repr(error)


@COLOURS
@TIMEOUTS
@pytest.mark.parametrize(
    ("error", "retryable"),
    [(ValueError("no"), False), (TimeoutError("slow"), True), (ConnectionError("down"), True)],
)
def test_guarded_it_answers_its_calls(backend, colour, timeout_s, error, retryable):
    replies = ask(guarded(backend(error)), colour, timeout_s)
    assert [type(r) for r in replies] == [BackendError] * 2
    assert type(error).__name__ in str(replies[0])
    assert repr(replies[0].__cause__) == repr(error)
    assert replies[0].retryable is retryable


@COLOURS
def test_guarded_a_call_error_answers_as_it_is(backend, colour):
    error = BackendError("busy", retryable=True)
    assert ask(guarded(backend(error)), colour) == [error, error]


@COLOURS
@pytest.mark.parametrize("error", [ConfigurationError("no model"), KeyboardInterrupt()])
def test_guarded_a_wrong_setup_and_an_interrupt_are_raised(backend, colour, error):
    with pytest.raises(type(error)):
        ask(guarded(backend(error)), colour)


def test_a_wrong_setup_is_raised_as_itself_from_many_queries():
    reranker = Reranker(SingleToken(), RaisesOnTheLoop(ConfigurationError("no model")))
    with pytest.raises(ConfigurationError, match="no model"):
        asyncio.run(reranker.arank_many([("q", ["a", "b"])] * 3))


def test_a_broken_backend_costs_the_order_and_nothing_else():
    reranker = Reranker(
        SingleToken(), guarded(Raises(ZeroDivisionError("oops"))), on_error="keep_order"
    )
    ranking = reranker.rank("q", ["a", "b"])
    assert ranking.order == (0, 1)
    assert ranking.report.fallbacks == ("BackendError: the backend raised ZeroDivisionError: oops",)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_stalled_backend_is_given_up(colour):
    backend = Stalls()
    strategy = SlidingWindow(inner=SingleToken(), size=2, stride=1)
    limits = Limits(timeout_s=0.2)
    reranker = Reranker(strategy, backend, on_error="keep_order", limits=limits)
    start = time.perf_counter()
    if colour == "sync":
        ranking = reranker.rank("q", ["a", "b", "c"])
    else:
        ranking = asyncio.run(reranker.arank("q", ["a", "b", "c"]))
    assert time.perf_counter() - start < 30  # and not the minute that the backend takes
    assert ranking.order == (0, 1, 2)
    assert len(ranking.report.fallbacks) == 2
    assert "0.2 seconds" in ranking.report.fallbacks[0]
    backend.go.set()
    with pytest.raises(BudgetError):
        Reranker(strategy, Stalls(), limits=limits).rank("q", ["a", "b", "c"])


@pytest.mark.parametrize("timeout_s", [None, 60])
def test_context_variables_reach_the_backend(timeout_s):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Reads:
        def run(self, calls):
            seen.append(variable.get())
            return Oracle().run(calls)

    variable.set("mine")
    sync_handler(Reads(), timeout_s)(CALLS)
    asyncio.run(async_handler(Reads(), timeout_s)(CALLS))
    assert seen == ["mine", "mine"]


def test_cancelling_reaches_the_caller_and_leaves_the_backend_alone():
    backend = Stalls()

    async def cancelled():
        task = asyncio.create_task(Reranker(SingleToken(), backend).arank("q", ["a", "b"]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    backend.go.set()


def test_the_other_threads_of_a_program_are_not_used_up():
    """A hundred stalled rankings, and ``asyncio.to_thread`` still answers."""
    backend = Stalls()
    reranker = Reranker(QueryLikelihood(), backend)

    async def serve():
        tasks = [asyncio.create_task(reranker.arank("q", ["a", "b"])) for _ in range(100)]
        await asyncio.sleep(0)
        answer = await asyncio.wait_for(asyncio.to_thread(lambda: "here"), 30)
        backend.go.set()
        await asyncio.gather(*tasks)
        return answer

    assert asyncio.run(serve()) == "here"


def test_warm_up_and_close_take_the_backends_own_colour():
    told = []

    class Server:
        async def arun(self, calls):
            return await Oracle().arun(calls)

        async def awarm_up(self):
            told.append("awarm_up")

        async def aclose(self):
            told.append("aclose")

    class Local(Oracle):
        def warm_up(self):
            told.append(threading.current_thread() is threading.main_thread())

        def close(self):
            raise InputError("told")

    asyncio.run(Reranker(SingleToken(), Server()).awarm_up())
    asyncio.run(Reranker(SingleToken(), Server()).aclose())
    asyncio.run(Reranker(SingleToken(), Local()).awarm_up())
    assert told == ["awarm_up", "aclose", False]
    with pytest.raises(InputError):
        asyncio.run(Reranker(SingleToken(), Local()).aclose())
    asyncio.run(Reranker(SingleToken(), Oracle()).awarm_up())


def test_a_package_that_cannot_be_imported_is_not_called_absent(tmp_path, monkeypatch):
    from rerank_plugins import MissingExtraError
    from rerank_plugins._extras import extra

    (tmp_path / "half_installed.py").write_text("raise ImportError('it needs NumPy 2')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match="cannot be imported: it needs NumPy 2"):
        extra("half_installed", "some")
    with pytest.raises(MissingExtraError, match=r"not installed\. .*rerank-plugins\[some\]"):
        extra("no_such_module_at_all", "some")
