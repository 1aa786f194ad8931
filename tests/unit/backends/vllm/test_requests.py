"""Batches through an engine that is not there."""

import threading

import pytest
from fake_vllm import LLM, fake_vllm

from rerank_plugins import BackendError
from rerank_plugins._threads import in_thread
from rerank_plugins.backends._vllm.requests import Request, Requests


@pytest.fixture
def llm(monkeypatch):
    fake_vllm(monkeypatch)
    return LLM()


BATCH = [Request([i, i], None) for i in range(3)]


def ids(outputs):
    return [output.ids for output in outputs]


def test_outputs_come_back_in_the_order_of_the_requests(llm):
    assert ids(Requests(llm).written(BATCH)) == [[0, 0], [1, 1], [2, 2]]
    assert ids(Requests(llm).classified(BATCH)) == [[0, 0], [1, 1], [2, 2]]
    assert Requests(llm).classified([]) == []


@pytest.mark.parametrize("send", ["written", "classified"])
def test_a_request_that_is_refused_costs_only_itself(llm, send):
    def refuse(given):
        if given == [1, 1]:
            raise ValueError("no such token")

    llm.trouble = refuse
    requests = Requests(llm)
    first, refused, third = getattr(requests, send)(BATCH)
    assert ids([first, third]) == [[0, 0], [2, 2]]
    assert isinstance(refused, BackendError)
    assert "no such token" in str(refused)
    assert not requests.lost


def test_a_dead_engine_is_an_error_that_may_be_asked_again(llm):
    llm.dies = True
    requests = Requests(llm)
    replies = requests.written(BATCH)
    assert all(isinstance(reply, BackendError) and reply.retryable for reply in replies)
    assert requests.lost


def test_an_interrupt_leaves_an_engine_that_is_not_used_again(llm):
    def interrupt(given):
        raise KeyboardInterrupt

    llm.trouble = interrupt
    for send in ("written", "classified"):
        requests = Requests(llm)
        with pytest.raises(KeyboardInterrupt):
            getattr(requests, send)(BATCH)
        assert requests.lost


def test_what_was_cancelled_is_aborted(llm):
    asking, cancelled = threading.Event(), threading.Event()

    def wait(given):
        asking.set()
        cancelled.wait(10)

    llm.trouble = wait
    requests = Requests(llm)
    job = in_thread(lambda: requests.written(BATCH))
    asking.wait(10)
    job.cancelled.set()
    cancelled.set()
    replies = job.future.result(10)
    assert all(isinstance(reply, BackendError) for reply in replies)
    assert len(llm.aborted) == 3
    assert not requests.lost


def test_a_request_is_ended_at_the_step_where_it_is_complete(llm):
    llm.steps = {"0": ["a", "ab", "abc"], "1": ["a", "ab"], "2": ["x"]}
    watched = [request._replace(complete=lambda o: o.text == "ab") for request in BATCH[:1]]
    ended, *others = Requests(llm).written([*watched, *BATCH[1:]])
    assert (ended.text, ended.finished) == ("ab", False)
    assert ids(others) == [[1, 1], [2, 2]]
    assert llm.aborted == ["0-abc"]


def test_a_request_that_never_is_complete_ends_by_itself(llm):
    llm.steps = {"0": ["a", "ab"]}
    [output] = Requests(llm).written([Request([7], None, lambda output: False)])
    assert (output.ids, llm.aborted) == ([7], [])
    del llm.output_processor  # an engine that keeps its requests elsewhere
    [output] = Requests(llm).written([Request([7], None, lambda output: True)])
    assert output.ids == [7]


def test_shutting_down_ends_the_processes(llm):
    requests = Requests(llm)
    requests.shutdown()
    assert (llm.ended, requests.lost) == (1, True)
