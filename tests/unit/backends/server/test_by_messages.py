"""Calls as chat messages, as exchanges without a server."""

import pytest
from openai_server import OpenAIServer
from server_rankings import PROBES, best_first, of, passages

from rerank_plugins import BackendError, Reranker
from rerank_plugins._drive import drive
from rerank_plugins.backends._server.by_messages import ask
from rerank_plugins.backends._server.capabilities import Server
from rerank_plugins.backends._server.exchange import RefusedError
from rerank_plugins.backends.chat import COMPLETIONS, Dialect
from rerank_plugins.backends.chat._conversation import Known
from rerank_plugins.calls import Generate, Message, Prompt
from rerank_plugins.strategies import SingleToken


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


@pytest.mark.parametrize(
    "words",
    [
        "Logprobs is not enabled for models/gemini-2.5-flash",
        "Logprobs is not supported for the current model.",
        "logprobs is not enabled for this model",
    ],
)
def test_log_probabilities_that_are_refused_in_any_spelling(served, words):
    server = served(OpenAIServer())
    server.refusal = lambda body, headers: (
        (400, {"error": {"message": words}}) if "logprobs" in body else None
    )
    ranking = Reranker(SingleToken(policy="generate"), of(server)).rank("q", passages(3))
    assert ranking.order == best_first(passages(3))


def test_tokens_of_answers_that_cannot_be_used_are_counted(served):
    """Of an answer that begins with a word, and of the one that is then asked for."""
    server = served(OpenAIServer("chatty"))
    ranker = Reranker(SingleToken(policy="generate"), of(server))
    usage = ranker.rank("q", passages(3)).usage
    assert usage.calls == 2
    assert usage.prompt_tokens == 100 * (len(server.asked) - PROBES)
    server = served(OpenAIServer("no_text"))
    usual = server.answer
    server.answer = lambda *question: {**usual(*question), "choices": [{"message": None}]}
    kept = Reranker(SingleToken(), of(server, attempts=1), on_error="keep_order")
    assert kept.rank("q", passages(3)).usage.prompt_tokens == 100
