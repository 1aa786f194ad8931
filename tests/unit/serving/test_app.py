"""The application: its arguments and its schema; what it answers is in tests/serving."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_a_package_the_extra_is_named(module):
    code = f"import sys; sys.modules[{module!r}] = None\nimport rerank_plugins.serving"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "rerank-plugins[serve]" in found.stderr.splitlines()[-1]
