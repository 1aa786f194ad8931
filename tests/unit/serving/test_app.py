"""The application: its arguments and its schema; what it answers is in tests/serving."""

import asyncio
import subprocess
import sys

import httpx
import pytest
from fastapi import FastAPI

from rerank_plugins import InputError, Reranker
from rerank_plugins.serving import ServiceSettings, create_app
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle


def reranker():
    return Reranker(PairScore(), Oracle())


def test_arguments():
    with pytest.raises(InputError, match="reranker is of type PairScore, expected a Reranker"):
        create_app(PairScore())
    with pytest.raises(InputError, match="the API key is blank"):
        create_app(reranker(), api_key=" ")


def test_the_schema():
    found = create_app(reranker(), api_key="a-key").openapi()
    ranking = {"/v1/rerank", "/v2/rerank", "/rerank"}
    assert found["paths"].keys() == ranking | {"/health", "/ready", "/v1/models", "/metrics"}
    for path in ranking:
        post = found["paths"][path]["post"]
        statuses = "200 400 401 404 408 413 422 429 500 502 503 504"
        assert sorted(post["responses"]) == statuses.split()
        assert post["security"]
    assert "security" not in found["paths"]["/health"]["get"]
    assert "401" not in create_app(reranker()).openapi()["paths"]["/rerank"]["post"]["responses"]


def test_two_applications_have_limits_of_their_own():
    found = [
        str(create_app(reranker(), settings=ServiceSettings(max_documents=n)).openapi())
        for n in (3, 17)
    ]
    assert "'maxItems': 3" in found[0]
    assert "'maxItems': 17" not in found[0]
    assert "'maxItems': 17" in found[1]


def test_it_can_be_mounted_under_another_application():
    outer = FastAPI()
    settings = ServiceSettings(model="mine")
    outer.mount("/api", create_app(reranker(), api_key="a-key", settings=settings))

    async def ask():
        transport = httpx.ASGITransport(outer)
        key = {"Authorization": "Bearer a-key"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x/api") as client:
            body = {"query": "q", "documents": ["a"]}
            return [
                await client.get("/ready"),
                await client.get("/v1/models"),
                await client.get("/v1/models", headers=key),
                await client.post("/v2/rerank", json=body, headers=key),
                await client.post("/rerank", json={}, headers=key),
                await client.get("/nothing", headers=key),
            ]

    ready, locked, names, ranked, malformed, unknown = asyncio.run(ask())
    assert (ready.status_code, locked.status_code) == (503, 401)
    assert [m["id"] for m in names.json()["data"]] == ["mine"]
    assert ranked.json()["meta"]["api_version"] == {"version": "2"}
    assert (malformed.status_code, malformed.json()["type"]) == (422, "InputError")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "NotFound")


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_a_package_the_extra_is_named(module):
    code = f"import sys; sys.modules[{module!r}] = None\nimport rerank_plugins.serving"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "rerank-plugins[serve]" in found.stderr.splitlines()[-1]
