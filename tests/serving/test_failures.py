"""Errors of the model, and time limits."""

import httpx
from rerank_service import (
    QUESTION,
    Slow,
    running,
    status_of,
    wait_until,
)

from rerank_plugins import BackendError, Limits, Reranker
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Failing, Oracle


def test_an_error_of_the_backend_is_told_without_its_text():
    broken = Failing(lambda: BackendError("http://10.0.0.7:8000 said no", retryable=True))
    with running(Reranker(PairScore(), broken)) as url:
        answer = httpx.post(f"{url}/v1/rerank", json=QUESTION)
    assert answer.status_code == 503
    assert answer.json()["type"] == "BackendError"
    assert answer.json()["retryable"] is True
    assert answer.headers["retry-after"] == "1"
    assert "10.0.0.7" not in answer.text


def test_a_kept_order_is_reported_without_the_errors_text():
    broken = Failing(lambda: BackendError("http://10.0.0.7:8000 said no"))
    reranker = Reranker(PairScore(), broken, on_error="keep_order")
    with running(reranker) as url:
        answer = httpx.post(f"{url}/v1/rerank", json=QUESTION)
        metrics = httpx.get(f"{url}/metrics").text
    found = answer.json()
    assert answer.status_code == 200
    assert found["fallback"] is True
    assert found["results"] == [
        {"index": i, "relevance_score": None, "score": None} for i in range(3)
    ]
    assert any("BackendError" in w for w in found["meta"]["warnings"])
    assert "10.0.0.7" not in answer.text
    assert "rerank_fallbacks_total 1.0" in metrics


def test_an_error_that_nobody_foresaw_has_an_id_and_no_text():
    class Broken(Slow):
        async def arun(self, calls):
            raise ZeroDivisionError("a secret")

    with running(Reranker(PairScore(), Broken())) as url:
        answer = httpx.post(f"{url}/v1/rerank", json=QUESTION)
    assert answer.status_code in (500, 502)
    assert "a secret" not in answer.text


def test_a_ranking_that_takes_too_long_is_given_up():
    slow = Slow()
    with running(Reranker(PairScore(), slow), timeout_s=0.1) as url:
        answer = httpx.post(f"{url}/v1/rerank", json=QUESTION)
        assert answer.status_code == 504
        wait_until(lambda: slow.cancelled == 1)


def test_a_limit_of_the_reranker_is_a_timeout():
    slow = Slow()
    with running(Reranker(PairScore(), slow, limits=Limits(timeout_s=0.1))) as url:
        assert httpx.post(f"{url}/v1/rerank", json=QUESTION).status_code == 504


def test_a_model_that_cannot_be_loaded_makes_it_unhealthy():
    class Unloadable(Oracle):
        def warm_up(self):
            raise BackendError("no such file")

        async def awarm_up(self):
            raise BackendError("no such file")

    with running(Reranker(PairScore(), Unloadable())) as url:
        wait_until(lambda: status_of(f"{url}/health") == 503)
        assert httpx.get(f"{url}/ready").json() == {"status": "failed"}
