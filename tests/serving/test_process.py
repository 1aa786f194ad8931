"""The service as a whole: its schema, its end, its command."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from rerank_service import (
    KEY,
    QUESTION,
    listening,
    running,
    status_of,
    wait_until,
)

from rerank_plugins import Reranker
from rerank_plugins.strategies import PairScore, Pointwise
from rerank_plugins.testing import Oracle


def test_schemathesis_finds_nothing(tmp_path):
    pytest.importorskip("schemathesis")
    takes_instructions = Reranker(Pointwise(), Oracle())  # others refuse what the schema allows
    with running(takes_instructions, api_key=KEY, max_queue=1000) as url:
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
        (("no-such-file.json",), "there is no spec file"),
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
