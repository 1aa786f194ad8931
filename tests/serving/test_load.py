"""Many requests at once, metrics, and the names of the models."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from rerank_service import (
    QUESTION,
    Slow,
    by_length,
    running,
    wait_until,
)

from rerank_plugins import Reranker
from rerank_plugins.strategies import PairScore


def test_no_more_than_its_limit_rank_and_wait():
    slow = Slow()
    limits = {"max_concurrency": 2, "max_queue": 3}
    with running(Reranker(PairScore(), slow), **limits) as url, ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(httpx.post, f"{url}/v1/rerank", json=QUESTION) for _ in range(12)]
        wait_until(lambda: sum(a.done() for a in asked) == 7)  # 2 rank, 3 wait
        assert httpx.get(f"{url}/health").status_code == 200
        metrics = httpx.get(f"{url}/metrics").text
        slow.go.set()
        answers = [a.result() for a in asked]
    refused = [a for a in answers if a.status_code == 429]
    assert len(refused) == 7
    assert all(a.headers["retry-after"] == "1" and a.json()["retryable"] for a in refused)
    assert sum(a.status_code == 200 for a in answers) == 5
    assert slow.most_at_once == 2
    assert "rerank_requests_in_flight 5.0" in metrics
    assert "rerank_rankings_in_flight 2.0" in metrics


def test_a_client_that_goes_away_stops_its_ranking():
    slow = Slow()
    with running(Reranker(PairScore(), slow), max_concurrency=1) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/rerank", json=QUESTION, timeout=0.3)
        wait_until(lambda: slow.cancelled == 1)
        slow.go.set()  # its place is free again
        assert httpx.post(f"{url}/v1/rerank", json=QUESTION).status_code == 200


def test_a_client_that_waited_and_went_away_leaves_no_place_taken():
    slow = Slow()
    with running(Reranker(PairScore(), slow), max_concurrency=1, max_queue=1) as url:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(httpx.post, f"{url}/v1/rerank", json=QUESTION)
            wait_until(lambda: slow.asked == 1)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/rerank", json=QUESTION, timeout=0.2)
            slow.go.set()
            assert first.result().status_code == 200
        text = httpx.get(f"{url}/metrics").text
        assert "rerank_requests_in_flight 0.0" in text
        assert slow.asked == 1


def test_metrics_count_what_happened():
    with running(by_length()) as url:
        for _ in range(3):
            httpx.post(f"{url}/v1/rerank", json=QUESTION)
        httpx.post(f"{url}/v1/rerank", content=b"")
        httpx.get(f"{url}/a/path/{'x' * 50}")
        text = httpx.get(f"{url}/metrics").text
    assert 'rerank_requests_total{path="/v1/rerank",status="200"} 3.0' in text
    assert 'rerank_requests_total{path="/v1/rerank",status="422"} 1.0' in text
    assert 'rerank_requests_total{path="other",status="404"} 1.0' in text
    assert "rerank_documents_total 9.0" in text
    assert "rerank_request_seconds_count 4.0" in text


def test_two_applications_count_for_themselves():
    with running(by_length()) as one, running(by_length()) as other:
        httpx.post(f"{one}/v1/rerank", json=QUESTION)
        assert "rerank_documents_total 0.0" in httpx.get(f"{other}/metrics").text


def test_models_are_listed_in_both_shapes():
    with running(by_length(), model="mine", aliases=("old",)) as url:
        found = httpx.get(f"{url}/v1/models").json()
    assert [m["id"] for m in found["data"]] == ["mine", "old"]
    assert [m["name"] for m in found["models"]] == ["mine", "old"]
