"""Foreign failures: statuses, headers and words."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import BackendError, ConfigurationError, PromptTooLongError
from rerank_plugins.backends._answers.failures import (
    RETRYABLE,
    failure,
    lost,
    refused,
    retry_after,
    status_of,
    too_long,
)
from rerank_plugins.backends._server.wire import read_response


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


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, True) for status in (408, 409, 425, 429, 500, 503, 599)),
        *((status, False) for status in (501, 505, 400, 404, 422)),
    ],
)
def test_one_table_says_which_statuses_may_pass(status, retryable):
    assert (status in RETRYABLE) is retryable
    assert failure(RefusalError("x", status)).retryable is retryable
    answer = read_response(status, {}, b'{"error": {"message": "x"}}', set())
    assert isinstance(answer, BackendError)
    assert answer.retryable is retryable


def test_the_pause_that_a_server_asks_for_is_a_number_or_a_date():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < retry_after({"retry-after": later}) <= 90
    earlier = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after": earlier}) == 0.0
    assert retry_after({"retry-after": "1.5"}) == 1.5
    for nothing in ({}, None, {"retry-after": "inf"}, {"retry-after": "nan"}, {"retry-after": [1]}):
        assert retry_after(nothing) is None


def test_a_lost_connection_may_come_back():
    error = lost(APITimeoutError("late"))
    assert str(error) == "the server did not answer in time (APITimeoutError: late)"
    assert error.retryable


def test_without_both_numbers_nobody_knows_by_how_much_a_prompt_is_too_long():
    assert too_long("the prompt is too long") is None
    assert too_long("maximum context length is 100 tokens") is None
    found = too_long("maximum context length is 100 tokens. You requested 130 tokens")
    assert (found.excess_tokens, found.limit) == (30, 100)
