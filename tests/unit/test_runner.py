"""Plans of applications' objects: one or many, sync or async, within limits."""

import asyncio

import pytest

from rerank_plugins import BudgetError, ContractError, InputError, Limits
from rerank_plugins._runner import Runner, results_of
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.plans import ask
from rerank_plugins.testing import Failing, Oracle


def plan(query):
    return (yield from ask([ScorePair(query, "passage")]))[0]


def many(runner, plans, asynchronous):
    if asynchronous:
        return asyncio.run(runner.asettle_many(plans))
    return runner.settle_many(plans)


class Counting:
    """Answers with the length of the query, and counts batches and calls under way."""

    def __init__(self):
        self.batches = self.under_way = self.most = 0

    async def arun(self, calls):
        self.batches += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.01)
        self.under_way -= 1
        return [Reply(float(len(call.query))) for call in calls]


class Both(Counting):
    def run(self, calls):
        self.batches += 1
        return [Reply(float(len(call.query))) for call in calls]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_results_come_in_the_order_of_the_plans(asynchronous):
    found = many(Runner(Both()), [plan("a" * n) for n in (3, 1, 2)], asynchronous)
    assert results_of(found) == [3.0, 1.0, 2.0]


def test_a_synchronous_backend_gets_common_batches():
    backend = Oracle()
    Runner(backend).settle_many([plan("a"), plan("b")])
    assert len(backend.asked) == 2
    both = Both()
    Runner(both).settle_many([plan("a"), plan("b")])
    assert both.batches == 1


def test_an_asynchronous_backend_gets_a_task_for_each_plan_up_to_the_limit():
    backend = Counting()
    found = asyncio.run(
        Runner(backend).asettle_many([plan("a")] * 1 + [plan("b") for _ in range(6)], 3)
    )
    assert len(found) == 7
    assert (backend.batches, backend.most) == (7, 3)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failure_stands_in_its_place(asynchronous):
    failing = Failing(when=lambda call: call.query == "bad")
    found = many(Runner(failing), [plan("good"), plan("bad"), plan("good")], asynchronous)
    assert [isinstance(result, float) for result in found] == [True, False, True]
    with pytest.raises(type(found[1])):
        results_of(found)


def test_limits_count_each_plan_alone():
    runner = Runner(Oracle(), Limits(max_calls=1))

    def two():
        yield from ask([ScorePair("q", "a")])
        return (yield from ask([ScorePair("q", "b")]))

    found = runner.settle_many([runner.counted(plan("a")), runner.counted(two())])
    _, usage = found[0]
    assert (usage.calls, usage.batches) == (1, 1)
    assert isinstance(found[1], BudgetError)


def test_a_wrong_plan_is_raised_and_not_settled():
    class Wrong:
        async def arun(self, calls):
            return []

    with pytest.raises(ContractError):
        asyncio.run(Runner(Wrong()).asettle_many([plan("a"), plan("b")]))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_the_number_of_tasks_is_checked(wrong):
    with pytest.raises(InputError, match="max_concurrency"):
        asyncio.run(Runner(Oracle()).asettle_many([], wrong))
