"""Requests, with the limits of a service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
        {"return_documents": "maybe"},
        {"return_documents": ""},
        {"return_documents": " true"},
        {"return_documents": 2},
        {"return_documents": 0.5},
        {"return_documents": []},
    ],
)
def test_bodies_that_are_refused(more):
    with pytest.raises(ValidationError):
        parsed(**more)


TRUE = [True, 1, 1.0, "1", "true", "True", "TRUE", "yes", "Yes", "on", "y", "t"]
FALSE = [False, 0, 0.0, "0", "false", "False", "FALSE", "no", "No", "off", "n", "f"]


@pytest.mark.parametrize(
    ("given", "taken"), [(x, True) for x in TRUE] + [(x, False) for x in FALSE]
)
def test_booleans_as_clients_write_them(given, taken):
    assert parsed(return_documents=given).return_documents is taken


@given(
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(TRUE + FALSE)
    | st.lists(st.booleans())
    | st.dictionaries(st.text(), st.none())
)
def test_any_value_is_a_boolean_by_the_schema_or_refused(value):
    schema = Request.model_json_schema()["properties"]["return_documents"]
    words = next(one["enum"] for one in schema["anyOf"] if "enum" in one)
    try:
        taken = parsed(return_documents=value).return_documents
    except ValidationError:
        assert value not in words
        assert not isinstance(value, bool)
    else:
        assert taken is None if value is None else type(taken) is bool
        assert value is None or (value.lower() if isinstance(value, str) else value) in words


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
