"""The one table of foreign failures: statuses, headers and words become the library's errors.

No client library is imported: an exception is recognised by its status, its text and the name of
its class.
"""

import math
import re
from collections.abc import Collection, Mapping, Set
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ...errors import BackendError, CallError, ConfigurationError, PromptTooLongError

WRONG_KEY, FORBIDDEN, NOT_FOUND = 401, 403, 404
RETRYABLE = frozenset({408, 409, 425, 429, *range(500, 600)}) - {501, 505}
"""Statuses after which the same request may succeed. 501 and 505 mean "not implemented"."""

_REFUSED_ARGUMENT = frozenset({400, 403, 422})
_TOO_LONG = frozenset({400, 413, 422})

_NUMBER = r"(\d{1,9})"
_CONTEXT = re.compile(  # vLLM and OpenAI
    rf"maximum context length is {_NUMBER} tokens.*?"
    rf"(?P<least>at least )?{_NUMBER} (?:input )?tokens",
    re.DOTALL,
)
_LIMIT = re.compile(
    r"(?:maximum context length (?:is|of)|context size|n_ctx|context length (?:is|of))"
    rf"\D{{0,12}}?{_NUMBER}",
    re.I,
)
_LENGTH = re.compile(
    r"(?:resulted in|requested|contains at least|n_prompt_tokens|request \()"
    rf"\D{{0,9}}?{_NUMBER}",
    re.I,
)
_TOO_LONG_WORDS = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|prompt is too long"
    r"|exceeds? the (?:available )?(?:model's )?context",
    re.I,
)
_UNREACHABLE = re.compile(r"connect|time.?out|transport|protocolerror|remotedisconnected", re.I)
_SECRET = re.compile(r"\b(?:sk|hf|pk|gsk|xai)[-_][\w*-]{4,}|(?<=Bearer )\S+")
_LONGEST = 500
_HIDDEN = "***"


def failure(error: BaseException, secrets: Collection[str] = ()) -> CallError:
    """Return the error that answers a call whose client raised ``error``.

    Args:
        error: The exception. It becomes the cause.
        secrets: Texts that the message must not repeat.

    Raises:
        ConfigurationError: ``error`` is one: a wrong set-up is not the failure of one call.

    Examples:
        >>> failure(TimeoutError("no answer")).retryable
        True
        >>> str(failure(ValueError("wrong key: sk-12345678")))
        'the model raised ValueError: wrong key: ***'
    """
    if isinstance(error, CallError):
        return error
    if isinstance(error, ConfigurationError):
        raise error
    status, words = status_of(error), str(error)
    found: CallError
    if status in _TOO_LONG and _TOO_LONG_WORDS.search(words):
        found = too_long(words) or PromptTooLongError(1)
    else:
        words, name = _without_secrets(words, secrets), type(error).__name__
        found = BackendError(
            f"the model raised {name}: {words}" if words else name,
            retryable=_unreachable(error) if status is None else status in RETRYABLE,
            retry_after_s=retry_after(getattr(getattr(error, "response", None), "headers", None)),
        )
    found.__cause__ = error
    return found


def lost(error: Exception) -> BackendError:
    """Return the error that answers a request for which the connection failed.

    Examples:
        >>> lost(ConnectionError("refused"))
        BackendError('the server cannot be reached (ConnectionError: refused)')
    """
    name = type(error).__name__
    happened = "did not answer in time" if "Timeout" in name else "cannot be reached"
    found = BackendError(f"the server {happened} ({name}: {error})", retryable=True)
    found.__cause__ = error
    return found


def refused(error: BaseException, arguments: Set[str]) -> set[str]:
    """Return those of the ``arguments`` that a client or a server names as not accepted.

    Empty if the call failed for another reason: a server that is unreachable or busy, a wrong
    key, a prompt that is too long.

    Examples:
        >>> refused(TypeError("got an unexpected keyword argument 'logprobs'"), {"logprobs"})
        {'logprobs'}
        >>> refused(TimeoutError("logprobs took too long"), {"logprobs"})
        set()
    """
    status = status_of(error)
    by_client = status is None and isinstance(error, TypeError | ValueError | RuntimeError)
    if not (by_client or status in _REFUSED_ARGUMENT) or _TOO_LONG_WORDS.search(str(error)):
        return set()
    return named(str(error), arguments)


def named(text: str, names: Set[str]) -> set[str]:
    """Return those of ``names`` that occur in ``text`` as whole words.

    Examples:
        >>> named("top_logprobs must be at most 5", {"logprobs", "top_logprobs"})
        {'top_logprobs'}
    """
    return {name for name in names if re.search(rf"\b{re.escape(name)}\b", text)}


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, if there is one."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if type(value) is int and 400 <= value < 600:
                return value
    return None


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header: a number or a date.

    Examples:
        >>> retry_after({"retry-after": "7"}), retry_after({"retry-after": "soon"})
        (7.0, None)
    """
    try:
        value = headers["retry-after"]  # type: ignore[index]  # None, or an object of a client
    except (KeyError, TypeError):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (AttributeError, TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def too_long(words: str) -> PromptTooLongError | None:
    """Read by how much a prompt is too long; None if the text does not hold both numbers.

    Examples:
        >>> too_long("request (130 tokens) exceeds the available context size (100 tokens)")
        PromptTooLongError('the prompt is 30 tokens too long for the context of 100 tokens. \
Use a smaller window or shorter passages.')
    """
    if found := _CONTEXT.search(words):
        limit, length, uncertain = int(found[1]), int(found[3]), bool(found["least"])
    elif (most := _LIMIT.search(words)) and (given := _LENGTH.search(words)):
        limit, length, uncertain = int(most[1]), int(given[1]), False
    else:
        return None
    # "At least" one too many, or characters: the tokens were not counted. A quarter is a guess.
    excess = limit // 4 if uncertain or length <= limit else length - limit
    return PromptTooLongError(max(1, excess), limit=limit)


def _unreachable(error: BaseException) -> bool:
    """Whether an error, or one that caused it, is about the connection."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        names = [base.__name__ for base in type(current).__mro__]
        if isinstance(current, ConnectionError | TimeoutError) or any(
            map(_UNREACHABLE.search, names)
        ):
            return True
        seen.add(id(current))
        current = current.__cause__
    return False


def _without_secrets(text: str, secrets: Collection[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, _HIDDEN)
    text = " ".join(_SECRET.sub(_HIDDEN, text).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
