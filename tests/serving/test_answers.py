"""Responses: the order, the scores, the documents."""

import httpx
import pytest
from rerank_service import (
    DOCUMENTS,
    PATHS,
    QUESTION,
)


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


def test_fewer_documents_where_fewer_are_relevant(url):
    def found(**cut):
        answer = httpx.post(f"{url}/v1/rerank", json={**QUESTION, **cut}).json()
        return [r["index"] for r in answer["results"]], answer["report"]["cut"]

    whole = httpx.post(f"{url}/v1/rerank", json=QUESTION).json()["results"]
    best, second = (r["index"] for r in whole[:2])
    assert found(score_threshold=whole[0]["score"]) == ([best], sorted({0, 1, 2} - {best}))
    assert found(score_threshold=1e9, keep_at_least=2)[0] == [best, second]
    assert found(score_threshold=1e9) == ([], [0, 1, 2])
    assert found(score_threshold=whole[2]["score"], top_n=1) == ([best], [])
    assert httpx.post(f"{url}/v1/rerank", json={**QUESTION, "keep_at_least": -1}).status_code == 422


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
    assert "warnings" not in found["meta"]


@pytest.mark.parametrize(
    "document", ["the text", {"text": "the text"}, {"text": "the text", "title": None}]
)
@pytest.mark.parametrize("wanted", [True, "true", "yes", 1])
def test_a_document_without_a_title(url, document, wanted):
    asked = {"query": "q", "documents": [document], "return_documents": wanted}
    found = httpx.post(f"{url}/v1/rerank", json=asked).json()
    assert found["results"][0]["document"] == {"text": "the text"}


@pytest.mark.parametrize("name", ["rerank-v9", "", "x" * 10_000, "<b>\n"])
def test_another_models_name_is_answered_with_a_note(url, name):
    found = httpx.post(f"{url}/v1/rerank", json={**QUESTION, "model": name}).json()
    assert [r["index"] for r in found["results"]] == [1, 2, 0]
    assert found["model"] == "reranker"
    note = "there is one model here, reranker, and it answered"
    assert found["meta"]["warnings"] == [note]
    for known in ("reranker", "rerank-v3.5", None):
        found = httpx.post(f"{url}/v1/rerank", json={**QUESTION, "model": known}).json()
        assert "warnings" not in found["meta"]


def test_what_the_model_was_asked(url):
    found = httpx.post(f"{url}/v1/rerank", json={**QUESTION, "explain": True}).json()
    assert found["usage"]["calls"] == len(found["asked"]) == 3
    assert found["asked"][1] == {
        "kind": "ScorePair",
        "question": f"[first text] flea\n\n[second text] {DOCUMENTS[1]}",
        "answer": "23.0000",
        "failed": False,
    }
    assert "asked" not in httpx.post(f"{url}/v1/rerank", json=QUESTION).json()


def test_what_is_ignored_is_said(url):
    asked = {**QUESTION, "max_chunks_per_doc": 3, "rank_fields": ["a"]}
    found = httpx.post(f"{url}/v1/rerank", json=asked).json()
    assert any("max_chunks_per_doc" in w for w in found["meta"]["warnings"])


def test_a_blank_query_keeps_the_order(url):
    found = httpx.post(f"{url}/v1/rerank", json={**QUESTION, "query": " "}).json()
    assert [r["index"] for r in found["results"]] == [0, 1, 2]
    assert {r["relevance_score"] for r in found["results"]} == {None}  # no model read them
