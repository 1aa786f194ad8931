"""Calls as chat messages, as exchanges without a server."""

import pytest

from rerank_plugins import BackendError
from rerank_plugins._drive import drive
from rerank_plugins.backends._server.by_messages import ask
from rerank_plugins.backends._server.capabilities import Server
from rerank_plugins.backends._server.exchange import RefusedError
from rerank_plugins.backends.chat import COMPLETIONS, Dialect
from rerank_plugins.backends.chat._conversation import Known
from rerank_plugins.calls import Generate, Message, Prompt


def call(**options):
    return Generate(Prompt((Message("user", ("Rank.",)),), **options), max_tokens=9)


def answered(requests, text):
    def send(request):
        requests.append(request)
        message = {"text": text, "message": {"content": text}, "finish_reason": "stop"}
        return {"model": "m", "choices": [message], "usage": {"prompt_tokens": 5}}

    return send


def test_a_chat_without_a_beginning_repeats_the_prefill():
    requests = []
    reply = drive(ask(Server("m"), call(prefill="["), Known(Dialect())), answered(requests, "[B]"))
    assert requests[0].path == "chat/completions"
    assert requests[0].body["messages"] == [{"role": "user", "content": "Rank."}]
    assert (reply.answer.text, reply.prompt_tokens) == ("B]", 5)


def test_a_server_that_continues_gets_the_prefill():
    requests = []
    server = Server("m", continues=True)
    reply = drive(ask(server, call(prefill="["), Known(Dialect())), answered(requests, "B]"))
    assert requests[0].body["messages"][-1] == {"role": "assistant", "content": "["}
    assert requests[0].body["continue_final_message"] is True
    assert reply.answer.text == "B]"


def test_a_text_completion_goes_on_after_the_prompt():
    requests = []
    asked = call(prefill="[", chat=False)
    reply = drive(ask(Server("m"), asked, Known(COMPLETIONS)), answered(requests, "[B]"))
    assert requests[0].path == "completions"
    assert requests[0].body["prompt"] == "Rank.["
    assert reply.answer.text == "[B]"  # all of it follows the prompt


def test_a_refused_argument_is_left_out_of_the_next_request():
    requests = []

    def send(request):
        if "temperature" in request.body:
            requests.append(request)
            return RefusedError(400, "temperature is not supported")
        return answered(requests, "B")(request)

    known = Known(Dialect())
    assert drive(ask(Server("m"), call(), known), send).answer.text == "B"
    assert len(requests) == 2
    assert known.dialect.greedy == {}


def test_a_failure_is_raised():
    with pytest.raises(BackendError, match="down"):
        drive(ask(Server("m"), call(), Known(Dialect())), lambda r: BackendError("down"))
