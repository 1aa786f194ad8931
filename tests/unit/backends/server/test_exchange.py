"""Exchanges are talks: run by the one driver, with a server's failures as values."""

import copy
import pickle

import pytest

from rerank_plugins import BackendError
from rerank_plugins._drive import drive
from rerank_plugins.backends._server.exchange import RefusedError, Request, get, post


def test_what_is_posted_and_what_is_got():
    asked = []
    assert drive(post("completions", {"n": 1}), lambda r: asked.append(r) or {"id": 1}) == {"id": 1}
    assert drive(get("models"), lambda r: asked.append(r) or []) == []
    assert asked == [Request("completions", {"n": 1}), Request("models", None)]


def test_a_failure_is_raised_where_it_was_asked():
    down = BackendError("down", retryable=True)
    with pytest.raises(BackendError) as error:
        drive(get("models"), lambda request: down)
    assert error.value is down


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_refusal_is_a_value(twin):
    error = RefusedError(400, "no", hint="Ask otherwise.")
    again = twin(error)
    assert type(again) is RefusedError
    assert again == error
    assert str(again) == "the server refused the request (400: no). Ask otherwise."
    assert (again.status, again.detail, again.hint) == (400, "no", "Ask otherwise.")
