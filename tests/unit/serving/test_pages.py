"""The pages for people: whole, closed, and switched off where they are not wanted."""

import re

import pytest
from starlette.testclient import TestClient

from rerank_plugins import Reranker
from rerank_plugins.serving import ServiceSettings, create_app
from rerank_plugins.serving._pages import PAGES
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Oracle

QUESTION = {"query": "q", "documents": ["a"], "explain": True}


def client(**options):
    return TestClient(create_app(Reranker(PairScore(), Oracle()), **options))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_and_allows_nothing_else(path):
    answer = client(api_key="a-key").get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not re.search(r"https?://|//[a-z]|@import|<(iframe|object|embed)", answer.text)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"(?!data:)", answer.text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", answer.text)
    assert not re.search(r"localStorage|sessionStorage|cookie", answer.text)


def test_the_rest_needs_the_key():
    locked = client(api_key="a-key")
    assert locked.get("/openapi.json").status_code == 401
    assert locked.post("/v1/rerank", json=QUESTION).status_code == 401


def test_without_pages_nothing_of_the_model_is_shown():
    closed = client(settings=ServiceSettings(page=False))
    assert {closed.get(path).status_code for path in PAGES} == {404}
    found = closed.post("/v1/rerank", json=QUESTION).json()
    assert "asked" not in found
    assert found["meta"]["warnings"] == ["explain is switched off in this service and was ignored"]
