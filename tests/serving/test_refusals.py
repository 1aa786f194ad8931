"""Requests that are refused: bodies, limits, keys."""

import json
import socket

import httpx
import pytest
from rerank_service import (
    KEY,
    PATHS,
    QUESTION,
    by_length,
    running,
)

from rerank_plugins import InputError
from rerank_plugins.serving import create_app


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 422, "not a JSON object"),
        (b"[]", 422, "not a JSON object"),
        (b'{"query": "q"', 400, "not a JSON object"),
        (b"\xff\xfe", 400, ""),
        (b'{"query": "q"}', 422, "documents"),
        (b'{"query": 1, "documents": []}', 422, "query"),
        (b'{"query": "q", "documents": "a"}', 422, "documents"),
        (b'{"query": "q", "documents": [1]}', 422, "documents.0"),
        (b'{"query": "q", "documents": [{"title": "t"}]}', 422, "documents.0"),
        (b'{"query": "q", "documents": ["a"], "top_n": 0}', 422, "top_n"),
        (b'{"query": "q", "documents": ["a"], "top_n": true}', 422, "top_n"),
        (b'{"query": "q", "documents": ["a"], "top_n": "3"}', 422, "top_n"),
        (b'{"query": "q", "documents": ["a"], "top_n": 1e400}', 422, ""),
        (b'{"query": "\\ud800", "documents": ["a"]}', 422, ""),
        (b"[" * 100_000, 400, ""),
    ],
)
def test_malformed_bodies(url, body, status, said):
    answer = httpx.post(
        f"{url}/v1/rerank", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert said in problem["detail"]
    assert problem["message"] == problem["detail"]
    assert problem["id"] == answer.headers["x-request-id"]
    assert problem["retryable"] is False


def test_a_strict_service_refuses_other_models():
    with running(by_length(), strict=True, aliases=("rerank-v3.5",)) as strict:
        for name in ("reranker", "rerank-v3.5", None):
            asked = {**QUESTION, "model": name}
            assert httpx.post(f"{strict}/v1/rerank", json=asked).status_code == 200
        answer = httpx.post(f"{strict}/v1/rerank", json={**QUESTION, "model": "gpt"})
    assert answer.status_code == 404
    said = "this service has no model of that name. It answers to reranker, rerank-v3.5."
    assert answer.json()["detail"] == said


def test_other_paths_and_methods(url):
    assert httpx.get(f"{url}/v1/nothing").status_code == 404
    assert httpx.get(f"{url}/v1/rerank").status_code == 405
    assert httpx.get(f"{url}/redoc").status_code == 404


@pytest.mark.parametrize("announced", [True, False])
def test_oversized_bodies_are_not_kept(announced):
    with running(by_length(), max_body_bytes=10_000) as url:
        body = json.dumps({"query": "q", "documents": ["x" * 20_000]}).encode()
        content = body if announced else (body[i : i + 100] for i in range(0, len(body), 100))
        answer = httpx.post(f"{url}/v1/rerank", content=content)
        assert answer.status_code == 413
        assert "10000 bytes" in answer.json()["detail"]
        assert httpx.post(f"{url}/v1/rerank", json=QUESTION).status_code == 200


@pytest.mark.parametrize(
    "question",
    [
        {"query": "q", "documents": ["x"] * 4},
        {"query": "q" * 11, "documents": ["x"]},
        {"query": "q", "documents": ["x" * 21]},
        {"query": "q", "documents": [{"text": "x" * 21}]},
    ],
)
def test_more_than_it_takes(question):
    limits = {"max_documents": 3, "max_query_chars": 10, "max_document_chars": 20}
    with running(by_length(), **limits) as url:
        assert httpx.post(f"{url}/v1/rerank", json=question).status_code == 422
        shown = httpx.get(f"{url}/openapi.json").text
        assert '"maxItems":3' in shown
        assert '"maxLength":20' in shown


def test_a_body_that_never_ends_is_given_up():
    with running(by_length(), read_timeout_s=0.2) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /v1/rerank HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99\r\n\r\n"
            client.sendall(head.encode() + b'{"query"')
            client.settimeout(10)
            assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"X-API-Key": KEY},
    ],
)
def test_the_key_is_asked_for(headers):
    with running(by_length(), api_key=KEY) as url:
        for path in (*PATHS, "/v1/models", "/metrics", "/openapi.json", "/nothing"):
            answer = httpx.post(url + path, json=QUESTION, headers=headers)
            assert answer.status_code == 401, path
            assert KEY not in answer.text
            assert answer.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{url}/health").status_code == 200
        right = {"Authorization": f"Bearer {KEY}"}
        assert httpx.post(f"{url}/v1/rerank", json=QUESTION, headers=right).status_code == 200


@pytest.mark.parametrize("key", ["", " ", "two words", "schlüssel", "line\n"])
def test_a_key_that_nobody_could_send_is_refused_at_once(key):
    with pytest.raises(InputError):
        create_app(by_length(), api_key=key)
