"""What chat models are asked, what they refuse, and what their reports mean."""

import math
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import BackendError, ConfigurationError, LogprobsError, PromptTooLongError
from rerank_plugins.backends._answers.failures import failure, refused, status_of
from rerank_plugins.backends._answers.logprobs import Position, read_labels, read_positions
from rerank_plugins.backends.chat._conversation import Said
from rerank_plugins.backends.chat._dialects import (
    COMPLETIONS,
    MUTE,
    OLLAMA,
    RESPONSES,
    TRANSFORMERS,
    Dialect,
)
from rerank_plugins.backends.chat._model import ChatModelBackend
from rerank_plugins.calls import Generate, Message, NextToken, Prompt

TOP = [("B", -0.2), ("A", -1.5)]


def entries(pairs=TOP):
    return [{"token": token, "logprob": value, "bytes": None} for token, value in pairs]


def position(token="B", pairs=TOP):
    return {"token": token, "logprob": -0.2, "bytes": None, "top_logprobs": entries(pairs)}


def dumped(value):
    return SimpleNamespace(model_dump=lambda: value)


EXPECTED = (Position("[", (("[", -0.2),)), Position("B", tuple(TOP)))
BRACKET = {"token": "[", "logprob": -0.2, "top_logprobs": []}


@pytest.mark.parametrize(
    "report",
    [
        {"content": [BRACKET, position()], "refusal": None},
        dumped({"content": [BRACKET, position()]}),
        {"content": [dumped(BRACKET), dumped(position())]},
        [BRACKET, position()],
        [{"content": [BRACKET]}, {"content": [position()]}],  # as a stream
        [[BRACKET, position()]],  # the Responses API
        [[{"token": "[", "logprob": -0.2}], entries()],  # LlamaIndex
        [[dumped({"token": "[", "logprob": -0.2})], [dumped(e) for e in entries()]],
        {
            "tokens": ["[", "B"],
            "token_logprobs": [-0.2, -0.2],
            "top_logprobs": [{"[": -0.2}, dict(TOP)],
        },
    ],
)
def test_every_shape_of_a_report(report):
    assert read_positions(report) == EXPECTED
    assert read_labels(read_positions(report), ["A", "B"], before="[").seen == dict(TOP)


@pytest.mark.parametrize(
    "report",
    [
        None,
        {},
        [],
        "B",
        3,
        {"content": None},
        {"content": "B"},
        [None],
        [[]],
        [["B"]],
        [{"token": 3}],
    ],
)
def test_what_has_no_known_shape_reports_nothing(report):
    assert read_positions(report) == ()


def test_tokens_without_alternatives_are_not_alternatives_to_one_another():
    report = {"content": [{"token": t, "logprob": -0.1} for t in ("[", "A", "] > [", "B")]}
    assert read_labels(read_positions(report), ["A", "B"], before="[").seen == {"A": -0.1}


@pytest.mark.parametrize(
    ("tokens", "before"),
    [
        (["B"], "["),  # the answer begins with the label
        (["[B"], "["),
        (["\n", "[", "B"], "["),
        (["\n\n", " B"], ""),
        (["<think>", "\n\n", "</think>", "\n\n", "B"], "<think>\n\n</think>\n\n"),
    ],
)
def test_where_the_first_label_stands(tokens, before):
    *others, last = tokens
    top = tuple((last.replace("B", name), value) for name, value in TOP)
    positions = [*(Position(t, ((t, -0.1),)) for t in others), Position(last, top)]
    assert read_labels(positions, ["A", "B"], before).seen == dict(TOP)


@pytest.mark.parametrize(
    ("tokens", "before"),
    [
        (["Sure", "B"], "["),
        (["[B] > ", "B"], "[C] > ["),
        (["<think>", "B"], "<think></think>"),  # inside what was to come before it
    ],
)
def test_a_label_that_stands_elsewhere_is_not_the_first(tokens, before):
    with pytest.raises(LogprobsError, match="no first label"):
        read_labels([Position(t, tuple(TOP)) for t in tokens], ["A", "B"], before)


# Dialects


def generate(**options):
    prompt = Prompt((Message("user", ("rank",)),))
    return Generate(prompt, **{"max_tokens": 50, "stop": ("END",), **options})


@pytest.mark.parametrize(
    ("dialect", "greedy", "sampled", "first"),
    [
        (
            Dialect(),
            {"max_tokens": 50, "temperature": 0.0, "stop": ["END"]},
            {"max_tokens": 50, "temperature": 0.7, "top_p": 0.8, "seed": 1, "stop": ["END"]},
            {
                "max_tokens": 3,
                "temperature": 0.0,
                "stop": ["]"],
                "logprobs": True,
                "top_logprobs": 20,
            },
        ),
        (
            COMPLETIONS,
            {"max_tokens": 50, "temperature": 0.0, "stop": ["END"]},
            {"max_tokens": 50, "temperature": 0.7, "top_p": 0.8, "seed": 1, "stop": ["END"]},
            {"max_tokens": 3, "temperature": 0.0, "stop": ["]"], "logprobs": 20},
        ),
        (
            RESPONSES,
            {"max_output_tokens": 50, "temperature": 0.0},
            {"max_output_tokens": 50, "temperature": 0.7, "top_p": 0.8},
            {
                "max_output_tokens": 16,
                "temperature": 0.0,
                "include": ["message.output_text.logprobs"],
                "top_logprobs": 20,
            },
        ),
        (
            OLLAMA,
            {"num_predict": 50, "temperature": 0.0, "stop": ["END"]},
            {
                "num_predict": 50,
                "temperature": 0.7,
                "top_p": 0.8,
                "top_k": 9,
                "seed": 1,
                "stop": ["END"],
            },
            {"num_predict": 3, "temperature": 0.0, "stop": ["]"]},
        ),
        (
            TRANSFORMERS,
            {"max_new_tokens": 50, "do_sample": False},
            {"max_new_tokens": 50, "temperature": 0.7, "top_p": 0.8, "top_k": 9, "do_sample": True},
            {"max_new_tokens": 3, "do_sample": False},
        ),
        (MUTE, {}, {}, {}),
    ],
)
def test_every_dialect(dialect, greedy, sampled, first):
    assert dialect.generate(generate()) == greedy
    warm = generate(temperature=0.7, top_p=0.8, top_k=9, seed=1)
    assert dialect.generate(warm) == sampled
    assert dialect.first_tokens("[") == first


@given(st.sets(st.sampled_from(["max_tokens", "temperature", "stop", "logprobs", "top_logprobs"])))
def test_what_is_refused_is_never_said_again(names):
    dialect = Dialect()
    while (simpler := dialect.without(names, "no")) != dialect:
        dialect = simpler
    said = {**dialect.generate(generate()), **dialect.first_tokens("[")}
    assert not names & set(said)


# Failures


class RefusalError(Exception):
    def __init__(self, message, status=None, headers=None):
        super().__init__(message)
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


class APITimeoutError(Exception):
    """Named as OpenAI's client names it."""


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (TypeError("run() got an unexpected keyword argument 'logprobs'"), {"logprobs"}),
        (
            ValueError("model_kwargs are not used: ['logprobs', 'top_logprobs']"),
            {"logprobs", "top_logprobs"},
        ),
        (RuntimeError("All failed. Last error: 'logprobs' not supported"), {"logprobs"}),
        (RefusalError("logprobs is not supported", 400), {"logprobs"}),
        (RefusalError('{"loc": ["body", "top_logprobs"]}', 422), {"top_logprobs"}),
        (RefusalError("may not request logprobs", 403), {"logprobs"}),
        (RefusalError("logprobs: wrong key", 401), set()),
        (RefusalError("logprobs: too many requests", 429), set()),
        (RefusalError("logprobs crashed", 500), set()),
        (RefusalError("no logprobs_mode here", 400), set()),
        (RefusalError("maximum context length is 5 tokens, reduce max_tokens", 400), set()),
        (ConnectionError("logprobs"), set()),
        (TimeoutError("logprobs"), set()),
        (KeyError("logprobs"), set()),
    ],
)
def test_what_counts_as_a_refusal(error, names):
    assert refused(error, {"logprobs", "top_logprobs", "max_tokens"}) == names


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (ConnectionResetError("gone"), True),
        (APITimeoutError("late"), True),
        (RefusalError("busy", 429), True),
        (RefusalError("down", 503), True),
        (RefusalError("late", 408), True),
        (RefusalError("who?", 401), False),
        (RefusalError("what?", 400), False),
        (ZeroDivisionError("oops"), False),
        (RuntimeError("inner"), False),
    ],
)
def test_what_may_pass(error, retryable):
    found = failure(error)
    assert isinstance(found, BackendError)
    assert found.retryable is retryable
    assert found.__cause__ is error
    assert type(error).__name__ in str(found)


def test_the_cause_of_an_error_counts_too():
    error = RuntimeError("wrapped")
    error.__cause__ = ConnectionRefusedError("nobody there")
    assert failure(error).retryable


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("-1", 0.0), ("soon", None), (None, None)]
)
def test_how_long_to_wait(header, seconds):
    headers = {} if header is None else {"retry-after": header}
    assert failure(RefusalError("busy", 429, headers)).retry_after_s == seconds


@pytest.mark.parametrize(
    ("message", "excess", "limit"),
    [
        ("maximum context length is 100 tokens. Your messages resulted in 130 tokens.", 30, 100),
        (
            "maximum context length is 100 tokens. However, you requested 5 output tokens and "
            "your prompt contains at least 130 input tokens",
            25,  # of uncertain size: a quarter of the context, as from a server
            100,
        ),
        ("request (130 tokens) exceeds the available context size (100 tokens)", 30, 100),
        ("context_length_exceeded", 1, None),
    ],
)
def test_a_prompt_that_is_too_long(message, excess, limit):
    found = failure(RefusalError(message, 400))
    assert isinstance(found, PromptTooLongError)
    assert (found.excess_tokens, found.limit) == (excess, limit)


def test_errors_that_are_ours():
    own = BackendError("ours")
    assert failure(own) is own
    with pytest.raises(ConfigurationError):
        failure(ConfigurationError("wrong"))


@given(st.text(min_size=1, max_size=30).filter(str.strip), st.text(max_size=40))
def test_secrets_are_never_repeated(secret, around):
    secret = f"{secret}-key"
    assert secret not in str(failure(ValueError(f"{around}{secret}{around}"), [secret]))


def test_the_status_of_errors_of_every_kind():
    assert status_of(RefusalError("x", 429)) == 429
    assert status_of(SimpleNamespace(status=503)) == 503
    assert status_of(SimpleNamespace(code="context_length_exceeded")) is None
    assert status_of(SimpleNamespace(code=7)) is None
    assert status_of(ValueError()) is None


# The backend


class Scripted(ChatModelBackend):
    """Answers with what a function of the arguments returns or raises."""

    def __init__(self, answer, **options):
        super().__init__(Dialect(), **{"max_concurrency": 4, **options})
        self.answer, self.asked, self.lock = answer, [], threading.Lock()

    def ask(self, asked):
        with self.lock:
            self.asked.append(dict(asked.arguments))
        found = self.answer(asked.arguments)
        if isinstance(found, Exception):
            raise found
        return found

    async def aask(self, asked):
        return self.ask(asked)


def question():
    return NextToken(Prompt((Message("user", ("rank",)),), prefill="["), ("A", "B"))


def test_what_the_first_answer_teaches_is_not_asked_again():
    """Also by the other calls of the same batch."""
    silent = Scripted(lambda arguments: Said("[A]"))
    replies = silent.run([question()] * 9)
    assert all(isinstance(reply, LogprobsError) for reply in replies)
    assert len(silent.asked) == 1


def test_an_empty_answer_teaches_nothing():
    mute = Scripted(lambda arguments: Said(""))
    for _ in range(2):
        assert isinstance(mute.run([question()])[0], LogprobsError)
    assert len(mute.asked) == 2


def test_a_passing_failure_teaches_nothing():
    errors = iter([ConnectionError("gone"), Said("B", (Position("B", tuple(TOP)),))])
    backend = Scripted(lambda arguments: next(errors))
    assert isinstance(backend.run([question()])[0], BackendError)
    assert backend.run([question()])[0].answer.seen == dict(TOP)


def test_a_refusal_that_is_about_something_else_ends():
    backend = Scripted(lambda arguments: ValueError(f"bad: {' '.join(arguments)}"))
    [reply] = backend.run([question()])
    assert isinstance(reply, BackendError)
    assert 1 < len(backend.asked) < 6
    assert backend.asked[-1] == {}
    backend.run([question()])
    assert backend.asked[len(backend.asked) // 2] == backend.asked[0]  # nothing was learnt


def test_a_model_that_thinks_is_asked_once_more_and_pays_for_both():
    def answer(arguments):
        if arguments["max_tokens"] < 1000:
            return Said("<think>well", cut=True, prompt_tokens=7, generated_tokens=50)
        return Said("<think>well</think>[B]", prompt_tokens=7, generated_tokens=60)

    thinker = Scripted(answer)
    [reply] = thinker.run([generate()])
    assert reply.answer.text.endswith("[B]")
    assert (reply.prompt_tokens, reply.generated_tokens) == (14, 110)
    thinker.run([generate()])
    assert len(thinker.asked) == 3


def test_the_longest_answer_is_told_to_be_cut():
    [reply] = Scripted(lambda arguments: Said("[A] > [", cut=True)).run([generate()])
    assert reply.answer.finish_reason == "length"


def test_values_are_those_that_were_reported():
    value = -math.pi
    said = Said("B", (Position("[", (("[", -0.1),)), Position("B", (("B", value),))))
    assert Scripted(lambda arguments: said).run([question()])[0].answer.seen == {"B": value}
