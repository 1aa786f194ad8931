"""Settings, the gate, the counters, and one ranking within its time."""

import asyncio

import pytest
from prometheus_client import generate_latest
from starlette.requests import ClientDisconnect

from rerank_plugins import BackendError, InputError, Ranking, Report, Reranker, Usage
from rerank_plugins.serving import ServiceSettings
from rerank_plugins.serving._problems import Refusal
from rerank_plugins.serving._schemas import RerankRequest
from rerank_plugins.serving._service import Gate, Metrics, Service, while_connected
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

REQUEST = RerankRequest(query="q", documents=["a", "bb"], top_n=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"max_documents": 0}, "max_documents is 0, expected at least 1"),
        ({"max_queue": -1}, "max_queue is -1, expected at least 0"),
        ({"max_concurrency": 1.5}, "max_concurrency is 1.5, expected a whole number of at least 1"),
        ({"max_body_bytes": True}, "max_body_bytes is True, expected at least 1"),
        ({"max_query_chars": None}, "max_query_chars is None, expected a positive number"),
        ({"timeout_s": 0}, "timeout_s is 0, expected a positive number"),
        ({"timeout_s": float("inf")}, "timeout_s is inf, expected a positive number"),
        ({"grace_s": float("nan")}, "grace_s is nan, expected a positive number"),
        ({"read_timeout_s": "3"}, "read_timeout_s is '3', expected a positive number"),
        ({"aliases": "abc"}, "aliases is 'abc'. Give a tuple of names."),
        ({"model": " "}, "a model's name is ' ', expected a string that is not blank"),
        ({"aliases": (3,)}, "a model's name is 3, expected a string that is not blank"),
    ],
)
def test_settings_out_of_range(given, says):
    with pytest.raises(InputError) as raised:
        ServiceSettings(**given)
    assert str(raised.value) == says


def test_settings():
    settings = ServiceSettings(model="a", aliases=["b"], max_queue=0, timeout_s=1)
    assert settings.names == ("a", "b")
    assert hash(settings) == hash(
        ServiceSettings(model="a", aliases=("b",), max_queue=0, timeout_s=1)
    )


def test_the_gate_counts_and_refuses():
    gate = Gate(ServiceSettings(max_concurrency=1, max_queue=1, retry_after_s=7))
    with gate.entered(), gate.entered():
        assert gate.inside == 2
        with pytest.raises(Refusal) as refused, gate.entered():
            pass
        assert (refused.value.status, refused.value.retry_after_s) == (429, 7)
    assert gate.inside == 0


def test_places_are_given_one_after_the_other():
    async def take(gate, most):
        async with gate.place():
            most.append(gate.ranking)
            await asyncio.sleep(0)

    async def all_at_once():
        gate, most = Gate(ServiceSettings(max_concurrency=2)), []
        await asyncio.gather(*(take(gate, most) for _ in range(5)))
        return gate.ranking, max(most)

    assert asyncio.run(all_at_once()) == (0, 2)


def test_counters():
    metrics = Metrics(Gate(ServiceSettings()))
    usage = Usage(calls=3, prompt_tokens=20, generated_tokens=5)
    metrics.ranked(Ranking((0,), (1.0,), report=Report(fallbacks=("x",)), usage=usage), 4)
    metrics.answered("/v1/rerank", 200, 0.3)
    metrics.answered("/health", 200, None)
    text = generate_latest(metrics.registry).decode()
    for line in (
        "rerank_documents_total 4.0",
        'rerank_tokens_total{kind="prompt"} 20.0',
        'rerank_tokens_total{kind="generated"} 5.0',
        "rerank_model_calls_total 3.0",
        "rerank_fallbacks_total 1.0",
        'rerank_requests_total{path="/health",status="200"} 1.0',
        "rerank_request_seconds_count 1.0",
        'rerank_request_seconds_bucket{le="0.5"} 1.0',
        'rerank_request_seconds_bucket{le="0.25"} 0.0',
    ):
        assert f"\n{line}\n" in text


def service(backend, **limits):
    settings = ServiceSettings(**limits)
    gate = Gate(settings)
    return Service(Reranker(PairScore(), backend), settings, gate, Metrics(gate))


def test_a_ranking():
    found = asyncio.run(service(Oracle(key=lambda q, p: len(p))).rank(REQUEST))
    assert found.order == (1,)


class Waiting:
    kinds = Oracle.kinds

    def __init__(self, error=None):
        self.error = error

    async def arun(self, calls):
        if self.error:
            raise self.error
        await asyncio.sleep(60)


def test_a_ranking_over_its_time_is_refused():
    with pytest.raises(Refusal, match=r"took longer than 0\.01 seconds") as refused:
        asyncio.run(service(Waiting(), timeout_s=0.01).rank(REQUEST))
    assert (refused.value.status, refused.value.retry_after_s) == (504, 1)


def test_a_model_that_cannot_be_warmed_up():
    class Unloadable(Oracle):
        def warm_up(self):
            raise BackendError("no such file")

    told = []
    found = service(Unloadable())
    found.when_failed = lambda: told.append(found.state)
    asyncio.run(found.warm_up())
    assert (found.state, str(found.failure), told) == ("failed", "no such file", ["failed"])
    ready = service(Oracle())
    asyncio.run(ready.warm_up())
    assert (ready.state, ready.failure) == ("ready", None)


def test_work_ends_with_the_client():
    cancelled = []

    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def disconnect():
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        asyncio.run(while_connected(work(), disconnect))
    assert cancelled == [True]


def test_work_is_returned_or_raises():
    async def silent():
        await asyncio.sleep(60)

    async def value():
        return 3

    async def fail():
        raise BackendError("down")

    assert asyncio.run(while_connected(value(), silent)) == 3
    with pytest.raises(BackendError):
        asyncio.run(while_connected(fail(), silent))
