"""Whatever a server sends becomes a reply, a `CallError` or another error of the library."""

import json
import math
import pickle
from functools import partial
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_plugins import CallError, RerankError
from rerank_plugins.backends import OpenAIBackend
from rerank_plugins.backends._answers.failures import retry_after
from rerank_plugins.backends._server.wire import read_response
from rerank_plugins.calls import (
    Generate,
    Likelihood,
    Message,
    NextToken,
    Prompt,
    Reply,
    ScorePair,
    Untrusted,
)

DEEP = "@@deep@@"
HOSTILE = [
    None,
    True,
    -1,
    5,
    2**63,
    -(10**400),
    10**400,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "x",
    "\ud800",
    "token_id:" + "9" * 5000,
    [],
    [[]],
    [None],
    {},
    {"token": "A", "logprob": 10**400},
    DEEP,
]
PROMPT = Prompt((Message("user", ("Which passage is the best?",)),), prefill="[")
NEXT = NextToken(PROMPT, ("A", "B"))
WRITE = Generate(PROMPT, max_tokens=5, logprobs=True)
LIKELY = Likelihood(PROMPT, Untrusted("a cat"))
PAIRS = [ScorePair("q", text) for text in ("one", "two", "three")]


def models(owner=""):
    row = {"id": "m", "owned_by": owner, "max_model_len": 4096, "meta": {"n_ctx": 4096}}
    return {"object": "list", "data": [row]}


def choice(**values):
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    one = {"index": 0, "finish_reason": "stop", **values}
    return {"object": "x", "model": "m", "choices": [one], "usage": usage}


def chat(body):
    tops = [{"token": x, "logprob": -0.5 - i, "id": i} for i, x in enumerate("AB")]
    token = {"token": "A", "logprob": -0.5, "top_logprobs": tops}
    return choice(message={"role": "assistant", "content": "A"}, logprobs={"content": [token]})


def text(body):
    ids = body.get("logprob_token_ids") or body["prompt"][:2]
    n = len(body["prompt"]) + 1 if body.get("echo") else 1
    tops = [{f"token_id:{i}": -0.5 for i in ids}] * n
    values = [None, *[-0.5] * n][-n:] if body.get("echo") else [-0.5]
    columns = {"tokens": ["A"] * n, "token_logprobs": values, "top_logprobs": tops}
    return choice(text="A", logprobs=columns)


def sglang(body):
    rows = [[-0.5, i, None] for i in body["token_ids_logprob"]]
    return {"text": "A", "meta_info": {"output_token_ids_logprobs": [rows], "prompt_tokens": 9}}


def rows(name, key, body):
    texts = body.get("text_2") or body.get("texts") or body["documents"]
    scores = [{"index": i, name: 1.0 - 2 * i} for i in range(len(texts))]
    usage = {"total_tokens": 7}
    return scores if key is None else {key: scores, "model": "m", "usage": usage}


ROUTES = {
    "chat": ({"chat/completions": chat}, [NEXT, WRITE]),
    "ids": ({"completions": text}, [NEXT, WRITE, LIKELY]),
    "sglang": ({"/generate": sglang, "completions": text}, [NEXT]),
    "vllm": ({"/score": partial(rows, "score", "data")}, PAIRS),
    "tei": ({"/rerank": partial(rows, "score", None)}, PAIRS),
    "jina": ({"rerank": partial(rows, "relevance_score", "results")}, PAIRS),
    "voyage": ({"rerank": partial(rows, "relevance_score", "data")}, PAIRS),
}


def places(value, path=()):
    """The path of every node of a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else inner:
        yield from places(item, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    twin = value.copy()
    twin[path[0]] = replaced(value[path[0]], path[1:], new)
    return twin


class Wire:
    """A server that is called directly, whose answers are changed from the n-th request on."""

    secrets = ()

    def __init__(self, route, seed, honest):
        self.route, self.choose, self.honest, self.n = route, Random(seed).choice, honest, 0

    def send(self, request):
        self.n += 1
        answers = ROUTES[self.route][0]
        if request.body is None:
            found = models("sglang" if self.route == "sglang" else "")
        elif request.path in answers:
            found = answers[request.path](request.body)
        else:
            return read_response(404, {}, b'{"detail": "Not Found"}', {"model"})
        status = 200
        if self.n > self.honest:
            where = self.choose([*places(found)])
            found = replaced(found, where, self.choose(HOSTILE))
            status = self.choose((200, 200, 200, 400, 500, 302))
        content = json.dumps(found).replace(f'"{DEEP}"', "[" * 600 + "]" * 600).encode()
        return read_response(status, {}, content, set(request.body or ()) or None)


def check(replies, n):
    assert len(replies) == n
    for reply in replies:
        assert isinstance(reply, Reply | CallError)
        assert 0 <= reply.prompt_tokens < 10**13
        assert 0 <= reply.generated_tokens < 10**13
        assert pickle.loads(pickle.dumps(reply)) == reply
        if isinstance(reply, CallError):
            str(reply).encode()
        elif isinstance(reply.answer, float):
            assert math.isfinite(reply.answer)
        else:
            repr(reply).encode()


@pytest.mark.parametrize("route", ROUTES)
@settings(suppress_health_check=list(HealthCheck), max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), honest=st.integers(0, 8))
def test_any_answer_of_any_route(tokenizer, route, seed, honest):
    options = {"tokenizer": tokenizer} if route in ("ids", "sglang") else {}
    options |= {"max_concurrency": 1}  # so that a seed is always the same case
    backend = OpenAIBackend("m", base_url="http://localhost", **options)
    backend._transport = Wire(route, seed, honest)
    calls = ROUTES[route][1]
    for _ in range(2):
        try:
            replies = backend.run(calls)
        except RerankError as error:
            str(error).encode()
        else:
            check(replies, len(calls))


@pytest.mark.parametrize("route", ROUTES)
def test_the_answers_that_are_changed_are_right_ones(tokenizer, route):
    options = {"tokenizer": tokenizer} if route in ("ids", "sglang") else {}
    unit = {"pair_unit": "logit"} if route in ("jina", "voyage") else {}
    backend = OpenAIBackend("m", base_url="http://localhost", **options, **unit)
    backend._transport = Wire(route, 0, math.inf)
    assert all(isinstance(r, Reply) for r in backend.run(ROUTES[route][1]))


@given(st.binary(max_size=200), st.integers(100, 599), st.none() | st.frozensets(st.text()))
def test_any_bytes(content, status, asked):
    try:
        found = read_response(status, {}, content, asked)
    except RerankError as error:
        found = error
    assert status < 300 or isinstance(found, RerankError)


@given(st.text() | st.from_regex(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{1,30}"))
def test_any_retry_after(value):
    found = retry_after({"retry-after": value})
    assert found is None or (found >= 0 and math.isfinite(found))


def test_a_time_zone_that_is_too_large():
    value = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
    assert retry_after({"retry-after": value}) is None
