"""Foreign failures: statuses, headers and words."""

import html
import json
import re
import time
import traceback
from base64 import b64decode, b64encode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugins import BackendError, ConfigurationError, PromptTooLongError
from rerank_plugins.backends._answers.failures import (
    RETRYABLE,
    failure,
    lost,
    mask,
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


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("-5", 0.0),
        ("0", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 -0000", 0.0),  # without a zone
        ("Fri, 31 Dec 9999 23:59:59 +2359", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("9" * 400, None),  # infinite
        ("1e300", 1e300),
    ],
)
def test_waits_that_are_odd(header, seconds):
    found = retry_after({"retry-after": header})
    assert found == seconds or (seconds is None and (found is None or found > 1e9))


def escaped(template):
    return lambda text: "".join(template.format(ord(char)) for char in text)


SPELLINGS = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "json": lambda key: json.dumps(key)[1:-1],
    "json twice": lambda key: json.dumps(json.dumps(key))[3:-3],
    "json, every character": escaped("\\u{:04X}"),
    "json in json, every character": escaped("\\\\u{:04x}"),
    "url": lambda key: quote(key, safe=""),
    "url twice": lambda key: quote(quote(key, safe=""), safe=""),
    "url, every character": escaped("%{:02x}"),
    "form": quote_plus,
    "html": html.escape,
    "html, every character": escaped("&#{};"),
    "html, hexadecimal": escaped("&#x{:X};"),
    "bytes": lambda key: repr(key.encode())[2:-1],
    "bytes of bytes": lambda key: repr(repr(key.encode()).encode())[2:-1],
    "bytes, every character": escaped("\\x{:02x}"),
    "base64": lambda key: b64encode(key.encode()).decode(),
    "base64 of basic": lambda key: b64encode(f"user:{key}".encode()).decode(),
    "base64 for urls": lambda key: urlsafe_b64encode(f"me:{key}!".encode()).decode(),
    "hexadecimal": lambda key: key.encode().hex(),
}
# Unlike "retryable" and "^^^^^^^^", which stand in errors and tracebacks whatever the key is.
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=64).filter(
    lambda key: len(set(key)) > 5 and any(map(str.isdigit, key))
)


def decoded_forms(text):
    """The text as it is, and read back from each encoding as far as that goes."""
    yield text
    for part in re.findall(r"[A-Za-z0-9+/=_-]{8,}", text):
        for skipped in range(4):
            piece = part[skipped:].rstrip("=")
            piece = piece[: len(piece) // 4 * 4].replace("-", "+").replace("_", "/")
            yield b64decode(piece).decode("latin-1")
        yield from (
            bytes.fromhex(x).decode("latin-1") for x in re.findall(r"(?:[\da-f]{2})+", part)
        )


@settings(max_examples=500, deadline=None)
@given(key=KEYS, spelling=st.sampled_from(sorted(SPELLINGS)))
def test_a_key_is_masked_however_it_is_spelt(key, spelling):
    spelt = SPELLINGS[spelling](key)
    hidden = mask(f"wrong key: <{spelt}>, sorry", [key])
    assert spelt not in hidden
    assert hidden.startswith("wrong key: <")
    assert hidden.endswith(">, sorry")
    if "***" not in key:
        assert not any(key in form for form in decoded_forms(hidden))


@settings(max_examples=200, deadline=None)
@given(key=KEYS, spelling=st.sampled_from(sorted(SPELLINGS)))
def test_an_error_and_its_causes_show_no_key(key, spelling):
    spelt = SPELLINGS[spelling](key)

    error = RuntimeError("it failed")
    error.__cause__ = ValueError(f"Illegal header value {spelt}")
    found = failure(error, [key])
    assert "it failed" in str(found)
    assert spelt not in "".join(traceback.format_exception(found))
    found = failure(RefusalError(f"the key {spelt} is wrong", 401), [key])
    assert spelt not in f"{found}{found!r}{vars(found)}" + "".join(
        traceback.format_exception(found)
    )


def test_a_cause_without_a_secret_stays():
    error = RefusalError("wrong number", 400)
    assert failure(error, ["sk-12345678"]).__cause__ is error


@pytest.mark.parametrize("text", ["\\" * 100_000, "%25" * 50_000, "&amp;" * 30_000, "s" * 100_000])
def test_masking_takes_linear_time(text):
    begun = time.perf_counter()
    mask(text, ["s%&-'\"1234567"])
    assert time.perf_counter() - begun < 5
