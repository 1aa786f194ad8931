"""Requests, with the limits of a service."""

import pytest
from pydantic import ValidationError

from rerank_plugins.serving._schemas import ReturnedDocument, request_model

Request = request_model(max_documents=2, max_query_chars=5, max_document_chars=4)


def parsed(**more):
    return Request.model_validate({"query": "q", "documents": ["a"], **more})


@pytest.mark.parametrize(
    "more",
    [
        {"query": "sixsix"},
        {"documents": ["a"] * 3},
        {"documents": ["fives"]},
        {"documents": [{"text": "fives"}]},
        {"documents": [{"text": "a", "title": "fives"}]},
        {"documents": [{"title": "a"}]},
        {"documents": [1]},
        {"top_n": 0},
        {"top_n": 1.5},
        {"top_n": "3"},
        {"top_n": True},
        {"return_documents": "yes"},
    ],
)
def test_bodies_that_are_refused(more):
    with pytest.raises(ValidationError):
        parsed(**more)


def test_a_whole_number_as_json_may_write_it():
    assert parsed(top_n=3.0).top_n == 3
    assert parsed(top_n=None).top_n is None


def test_passages_have_titles_and_further_fields_are_named():
    found = parsed(documents=["a", {"text": "b", "title": "B", "year": 1}], speed=1, mode=2)
    assert [(str(p), p.passage_title) for p in found.passages] == [("a", ""), ("b", "B")]
    assert found.ignored == ("speed", "mode")


def test_documents_come_back_without_further_fields():
    text, titled = parsed(documents=["a", {"text": "b", "title": "B", "year": 1}]).documents
    assert ReturnedDocument.of(text) == ReturnedDocument(text="a")
    assert ReturnedDocument.of(titled) == ReturnedDocument(text="b", title="B")
