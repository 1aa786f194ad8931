"""The rerank service as clients see it: a real server on the loopback, asked over HTTP."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from rerank_plugins import BackendError, InputError, Limits, Reranker
from rerank_plugins.calls import Reply
from rerank_plugins.serving import ServiceSettings, create_app
from rerank_plugins.serving._responses import relevance
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Failing, Oracle

PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")
DOCUMENTS = ["a cat", "a flea lives for months", "a dog barks"]
QUESTION = {"query": "flea", "documents": DOCUMENTS}
KEY = "the-key-of-this-test"


def by_length():
    return Reranker(PairScore(), Oracle(key=lambda query, passage: len(passage)))


@contextmanager
def running(reranker, *, api_key=None, **limits):
    """The URL of a service, which ends with the block."""
    app = create_app(reranker, api_key=api_key, settings=ServiceSettings(**limits))
    with listening() as sock:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            wait_until(lambda: status_of(f"{url}/ready") in (200, 503))
            yield url
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


@contextmanager
def listening():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def status_of(url):
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return None


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def url():
    with running(by_length(), aliases=("rerank-v3.5",)) as found:
        yield found


class Slow:
    """Answers when it is let go."""

    model = "slow"
    kinds = Oracle.kinds

    def __init__(self):
        self.go = threading.Event()
        self.asked = self.cancelled = self.at_once = self.most_at_once = 0

    async def arun(self, calls):
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            while not self.go.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        return [Reply(float(len(call.passage))) for call in calls]

    def close(self):
        pass


# What it answers


@pytest.mark.parametrize("path", PATHS)
def test_documents_come_back_best_first(url, path):
    found = httpx.post(url + path, json=QUESTION).json()
    assert [r["index"] for r in found["results"]] == [1, 2, 0]
    assert [r["score"] for r in found["results"]] == [23.0, 11.0, 5.0]
    scores = [r["relevance_score"] for r in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= s <= 1 for s in scores)
    assert all("document" not in r for r in found["results"])
    assert found["model"] == "reranker"
    assert found["fallback"] is False
    assert found["meta"]["api_version"]["version"] == ("2" if path == "/v2/rerank" else "1")


def test_top_n_and_documents(url):
    asked = {**QUESTION, "top_n": 2, "return_documents": True}
    found = httpx.post(f"{url}/v1/rerank", json=asked).json()
    assert [r["document"]["text"] for r in found["results"]] == [DOCUMENTS[1], DOCUMENTS[2]]


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_any_number_of_documents(url, n):
    documents = ["x" * (1 + 7919 * i % 1009) for i in range(n)]
    found = httpx.post(f"{url}/v1/rerank", json={"query": "q", "documents": documents})
    assert found.status_code == 200
    order = [r["index"] for r in found.json()["results"]]
    assert order == sorted(range(n), key=lambda i: -len(documents[i]))


def test_more_documents_than_wanted_are_all_one(url):
    found = httpx.post(f"{url}/v1/rerank", json={**QUESTION, "top_n": 99}).json()
    assert len(found["results"]) == 3


def test_documents_with_titles_and_further_fields(url):
    document = {"text": "the text", "title": "the title", "year": 1962}
    asked = {"query": "q", "documents": [document], "return_documents": True}
    found = httpx.post(f"{url}/v1/rerank", json=asked).json()
    assert found["results"][0]["document"] == {"text": "the text", "title": "the title"}


def test_what_is_ignored_is_said(url):
    asked = {**QUESTION, "max_chunks_per_doc": 3, "rank_fields": ["a"]}
    found = httpx.post(f"{url}/v1/rerank", json=asked).json()
    assert any("max_chunks_per_doc" in w for w in found["meta"]["warnings"])


def test_a_blank_query_keeps_the_order(url):
    found = httpx.post(f"{url}/v1/rerank", json={**QUESTION, "query": " "}).json()
    assert [r["index"] for r in found["results"]] == [0, 1, 2]


def test_scores_of_every_kind_keep_their_order():
    for kind in ("logit", "logprob", "probability", "grade", "rank"):
        values = [relevance(x / 10, kind) for x in range(-50, 60)]
        assert values == sorted(values)
        assert min(values) >= 0
        assert max(values) <= 1


# Clients written by others


def test_the_cohere_client(url):
    cohere = pytest.importorskip("cohere")
    for kind in (cohere.ClientV2, cohere.Client):
        with kind("a key", base_url=url) as client:
            found = client.rerank(model="rerank-v3.5", query="flea", documents=DOCUMENTS, top_n=2)
        assert [r.index for r in found.results] == [1, 2]
        assert found.results[0].relevance_score >= found.results[1].relevance_score


def test_the_cohere_client_shows_why_it_was_refused():
    cohere = pytest.importorskip("cohere")
    with running(by_length(), api_key=KEY) as locked:
        refused = pytest.raises(cohere.UnauthorizedError, match="the API key is missing or wrong")
        with cohere.ClientV2("another key", base_url=locked) as client, refused:
            client.rerank(model="reranker", query="flea", documents=DOCUMENTS)
        refused = pytest.raises(cohere.NotFoundError, match="no such model here, only: reranker")
        with cohere.ClientV2(KEY, base_url=locked) as client, refused:
            client.rerank(model="rerank-v3.5", query="flea", documents=DOCUMENTS)


def test_haystacks_cohere_ranker(url, monkeypatch):
    cohere = pytest.importorskip("haystack_integrations.components.rankers.cohere")
    from haystack import Document, Pipeline

    monkeypatch.setenv("COHERE_API_KEY", "a key")
    ranker = cohere.CohereRanker(top_k=2, api_base_url=url)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    pipeline.warm_up()
    documents = [Document(content=text) for text in DOCUMENTS]
    with ranker._cohere_client:  # which it never closes
        found = pipeline.run({"ranker": {"query": "flea", "documents": documents}})
    assert [d.content for d in found["ranker"]["documents"]] == [DOCUMENTS[1], DOCUMENTS[2]]


@pytest.mark.parametrize("kind", ["cohere", "jina"])
def test_llama_indexs_postprocessors(url, kind):
    from llama_index.core.schema import NodeWithScore, TextNode

    if kind == "cohere":
        found = pytest.importorskip("llama_index.postprocessor.cohere_rerank")
        reranker = found.CohereRerank(2, "rerank-v3.5", api_key="a key", base_url=url)
        opened = reranker._client  # which it never closes
    else:
        found = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
        reranker = found.JinaRerank(2, "reranker", api_key="a key", base_url=f"{url}/v1")
        opened = reranker._session
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in DOCUMENTS]
    with opened:
        ranked = reranker.postprocess_nodes(nodes, query_str="flea")
    assert [n.node.text for n in ranked] == [DOCUMENTS[1], DOCUMENTS[2]]


def test_our_own_client(url):
    from rerank_plugins.backends import OpenAIBackend

    reranker = Reranker(PairScore(), OpenAIBackend("reranker", base_url=f"{url}/v1"))
    assert reranker.rank("flea", DOCUMENTS).order == (1, 2, 0)
    reranker.close()


# What it refuses


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
        (b'{"query": "q", "documents": ["a"], "model": "gpt"}', 404, "only: reranker"),
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


def test_other_paths_and_methods(url):
    assert httpx.get(f"{url}/v1/nothing").status_code == 404
    assert httpx.get(f"{url}/v1/rerank").status_code == 405
    assert httpx.get(f"{url}/docs").status_code == 404


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


# When the model fails


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
    assert [r["index"] for r in found["results"]] == [0, 1, 2]
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


# Many at once


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


# As a whole


def test_schemathesis_finds_nothing(tmp_path):
    pytest.importorskip("schemathesis")
    with running(by_length(), api_key=KEY, max_queue=1000) as url:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {KEY}", "--checks", "all"),
            *("--max-examples", "50", "--seed", "1", "--generation-database", "none"),
        ]
        found = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]


SCRIPT = """
import asyncio, sys
from rerank_plugins import Reranker
from rerank_plugins.calls import Reply
from rerank_plugins.serving import ServiceSettings, create_app, serve
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

class Slow:
    model, kinds = "slow", Oracle.kinds
    async def arun(self, calls):
        print("ranking", flush=True)
        await asyncio.sleep(1)
        return [Reply(float(len(call.passage))) for call in calls]
    async def aclose(self):
        print("closed", flush=True)

serve(create_app(Reranker(PairScore(), Slow())), port=int(sys.argv[1]))
print("ended", flush=True)
"""


def test_sigterm_lets_the_requests_under_way_finish():
    with listening() as sock:
        port = sock.getsockname()[1]
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: status_of(f"{url}/ready") == 200, 60)
            asked = pool.submit(httpx.post, f"{url}/v1/rerank", json=QUESTION)
            while process.stdout.readline() != "ranking\n":
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert asked.result(30).status_code == 200
            assert process.stdout.read().endswith("closed\nended\n")
            assert process.wait(30) == 0
        finally:
            process.kill()


def serving(*arguments, **environment):
    command = [sys.executable, "-m", "rerank_plugins.cli", "serve", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_command(url, tmp_path):
    from rerank_plugins.backends import OpenAIBackend

    file = tmp_path / "mine.json"
    file.write_text(
        json.dumps(Reranker(PairScore(), OpenAIBackend("reranker", base_url=f"{url}/v1")).to_spec())
    )
    with listening() as sock:
        port = sock.getsockname()[1]
    with serving(file, "--port", port, "--api-key-env", "MY_KEY", MY_KEY=KEY) as process:
        try:
            own = f"http://127.0.0.1:{port}"
            wait_until(lambda: process.poll() is not None or status_of(f"{own}/ready") == 200, 60)
            assert httpx.post(f"{own}/v1/rerank", json=QUESTION).status_code == 401
            answer = httpx.post(
                f"{own}/v1/rerank",
                json={**QUESTION, "model": "mine"},
                headers={"Authorization": f"Bearer {KEY}"},
            )
            assert [r["index"] for r in answer.json()["results"]] == [1, 2, 0]
            process.send_signal(signal.SIGTERM)
            shown = process.stdout.read()
            assert process.wait(30) == 0, shown
            assert KEY not in shown
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-such-checkpoint",), "no-such-checkpoint"),
        (("no-such-file.json",), "cannot read"),
        (("no-such-file.json", "--api-key-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (("no-such-file.json", "--api-key-file", "/no/such/file"), "cannot read '/no/such/file'"),
        (("a.json", "--api-key-env", "A", "--api-key-file", "b"), "not both"),
        (("no-such-file.json", "--max-concurrency", "0"), "max_concurrency is 0"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, said):
    with serving(*arguments) as process:
        shown = process.stdout.read()
        assert process.wait(60) != 0
    assert said in shown
    assert "Traceback" not in shown
