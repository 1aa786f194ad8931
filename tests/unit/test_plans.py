"""The drivers and combinators, with the mistakes that generators invite."""

import asyncio
import threading
from functools import partial

import pytest

from rerank_plugins import BackendError, ContractError
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.plans import Done, arun, ask, ask_each, ask_replies, gather, run, settle, step
from rerank_plugins.testing import Oracle

A, B, C = (ScorePair("q", text) for text in "abc")


def answer(batch):
    return [Reply(float(ord(call.passage))) for call in batch]


def one(call):
    [value] = yield from ask([call])
    return value


def chain(*calls):
    values = []
    for call in calls:
        values += yield from ask([call])
    return values


def test_run_and_arun_agree():
    async def handle(batch):
        return answer(batch)

    assert run(chain(A, B), answer) == asyncio.run(arun(chain(A, B), handle)) == [97.0, 98.0]


def test_gather_merges_batches_and_keeps_the_order_of_results():
    batches = []

    def handle(batch):
        batches.append(list(batch))
        return answer(batch)

    plans = [chain(A, B, C), chain(B), chain(C, A)]
    assert run(gather(plans), handle) == [[97.0, 98.0, 99.0], [98.0], [99.0, 97.0]]
    assert batches == [[A, B, C], [B, A], [C]]


def test_gather_of_nothing_and_of_plans_that_ask_nothing():
    def silent():
        yield from ()
        return "done"

    assert run(gather([]), answer) == []
    assert run(gather([silent(), silent()]), answer) == ["done", "done"]


def test_asking_nothing_asks_nothing():
    def plan():
        return (yield from ask([]))

    assert step(plan()) == Done([])


def fail_b(batch):
    return [BackendError("no") if c == B else Reply(1.0) for c in batch]


def test_an_error_reaches_only_the_plan_that_asked():
    results = run(gather([settle(one(A)), settle(one(B)), settle(one(C))]), fail_b)
    assert results[0] == results[2] == 1.0
    assert isinstance(results[1], BackendError)


def test_ask_raises_where_ask_each_returns():
    def each():
        return (yield from ask_each([A, B]))

    def whole():
        return (yield from ask_replies([A, B]))

    first, second = run(each(), fail_b)
    assert (first, type(second)) == (1.0, BackendError)
    reply, second = run(whole(), fail_b)
    assert (reply, type(second)) == (Reply(1.0), BackendError)
    with pytest.raises(BackendError):
        run(ask([A, B]), fail_b)


def test_a_function_that_forgot_to_yield_is_named():
    with pytest.raises(ContractError, match="did its function forget to yield"):
        run([1, 2], answer)
    with pytest.raises(ContractError, match="did its function forget to yield"):
        asyncio.run(arun([1, 2], answer))


def test_a_call_outside_a_list_is_named():
    def plan():
        yield A

    with pytest.raises(ContractError, match="plan asked a ScorePair, expected a list of calls"):
        run(plan(), answer)


def test_an_empty_batch_is_refused():
    def plan():
        yield []

    with pytest.raises(ContractError, match="empty batch"):
        run(plan(), answer)


def test_the_number_of_replies_is_checked():
    with pytest.raises(ContractError, match="1 calls were answered by 2 replies"):
        run(one(A), lambda batch: [Reply(1.0), Reply(2.0)])


def test_stop_iteration_from_a_handler_is_not_a_result():
    script = iter(())
    with pytest.raises(StopIteration):
        run(one(A), lambda batch: [next(script)])


@pytest.mark.parametrize("crash", [RuntimeError, KeyboardInterrupt])
def test_a_plan_is_closed_when_its_handler_crashes(crash):
    closed = []

    def plan():
        try:
            yield [A]
        finally:
            closed.append(True)

    def handle(batch):
        raise crash

    with pytest.raises(crash):
        run(gather([plan(), plan()]), handle)
    assert closed == [True, True]


def test_cancellation_closes_the_plan():
    closed = []

    def plan():
        try:
            yield [A]
        finally:
            closed.append(True)

    async def handle(batch):
        await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(arun(plan(), handle))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed == [True]


def test_in_threads_a_plan_leaves_the_loop_alone():
    """A slow step is not the event loop's; a cancelled one is let go of."""
    go = threading.Event()

    def slow(tell):
        assert threading.current_thread() is not threading.main_thread()
        tell()
        go.wait(60)
        return (yield from ask([ScorePair("a", "b")]))

    async def main():
        started, oracle = asyncio.Event(), Oracle(key=lambda q, p: 2.0)
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, started.set)
        task = asyncio.create_task(arun(slow(tell), oracle.arun, in_threads=True))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        return await arun(slow(lambda: None), oracle.arun, in_threads=True)

    assert asyncio.run(main()) == [2.0]


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        (None, "NoneType"),
        ([], "0 replies"),
        (["7"], "str"),
        ([7.0], "float"),
        ([Reply("7")], "str"),
        ([Reply(None)], "NoneType"),
    ],
)
def test_a_backend_that_answers_nonsense_is_told_so(replies, says):
    async def answer_async(batch):
        return replies

    with pytest.raises(ContractError, match=says):
        run(one(A), lambda batch: replies)
    with pytest.raises(ContractError, match=says):
        asyncio.run(arun(one(A), answer_async))
