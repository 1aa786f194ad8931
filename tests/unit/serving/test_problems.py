"""Errors as responses."""

import json
import logging

import pytest

from rerank_plugins import (
    BackendError,
    BudgetError,
    ConfigurationError,
    InputError,
    ModelOutputError,
    PromptTooLongError,
)
from rerank_plugins.serving._problems import (
    Refusal,
    error_response,
    faults,
    problem,
    public_cause,
    public_text,
    status_of,
)

LONG = PromptTooLongError(5)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("top_k is 0"), 422),
        (LONG, 422),
        (BudgetError("late"), 504),
        (BackendError("down"), 502),
        (BackendError("down", retryable=True), 503),
        (ModelOutputError("odd"), 502),
        (ConfigurationError("no"), 500),
    ],
)
def test_statuses(error, status):
    assert status_of(error) == status


def test_texts_that_clients_may_see():
    assert public_text(InputError("top_k is 0")) == "top_k is 0"
    assert public_text(LONG) == str(LONG)
    assert public_text(BackendError("http://10.0.0.7")) == "the model's server failed"
    assert "10.0.0.7" not in public_text(ConfigurationError("http://10.0.0.7"))
    assert public_cause("no colon") == "no colon"
    assert public_cause("InputError: top_k: 0") == "InputError: top_k: 0"
    assert public_cause("ZeroDivisionError: /home/me") == "ZeroDivisionError"


def body(response):
    return json.loads(response.body)


def test_an_error_of_the_library(caplog):
    error = BackendError("http://10.0.0.7", retryable=True, retry_after_s=2.5)
    with caplog.at_level(logging.ERROR, "rerank_plugins.serving"):
        found = error_response(error, request_id="the-id", retry_after_s=1)
    assert found.status_code == 503
    assert found.headers["retry-after"] == "3"
    assert body(found) == {
        "id": "the-id",
        "detail": "the model's server failed",
        "message": "the model's server failed",
        "type": "BackendError",
        "retryable": True,
    }
    assert "the-id: BackendError: http://10.0.0.7" in caplog.text
    caplog.clear()
    found = error_response(InputError("top_k is 0"), request_id="", retry_after_s=1)
    assert "retry-after" not in found.headers
    assert body(found)["retryable"] is False
    assert not caplog.records


def test_a_refusal():
    found = Refusal(429, "full", retry_after_s=0.2, headers={"X": "y"}).response("the-id")
    assert (found.status_code, found.headers["retry-after"], found.headers["x"]) == (429, "1", "y")
    assert body(found)["type"] == "TooManyRequests"
    assert problem(404, "no", request_id="").headers.get("retry-after") is None


def test_faults_of_a_body():
    errors = [
        {"loc": ("body", "documents", 3, "text"), "msg": "too long" * 100, "type": "x"},
        *[{"loc": ("body", "query"), "msg": "missing", "type": "x"}] * 20,
    ]
    text, found = faults(errors)
    assert text.startswith("documents.3.text: too longtoo")
    assert text.endswith(" (and 20 more)")
    assert len(found) == 8
    assert (found[1].at, found[1].message, len(found[0].message)) == ("query", "missing", 200)
    for one in ({"loc": ("body",), "type": "dict"}, {"loc": ("body", 3), "type": "json_invalid"}):
        text, found = faults([{"msg": "no", **one}])
        assert text.startswith("the body is not a JSON object")
        assert [f.at for f in found] == ["body"]
