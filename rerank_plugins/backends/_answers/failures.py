"""What other people's clients raise, as the library's errors.

Nothing of theirs is imported: an error is known by its status, its words and its class's name.
"""

import math
import re
from collections.abc import Collection, Iterator, Set

from ...errors import BackendError, CallError, ConfigurationError, PromptTooLongError
from ..chat._dialects import named

_REFUSALS = frozenset({400, 403, 422})
_PASSING = frozenset({408, 409, 425, 429})
_UNREACHED = re.compile(r"connect|time.?out|transport|protocolerror|remotedisconnected", re.I)
_ROOM = re.compile(
    r"(?:maximum context length (?:is|of)|context size|n_ctx|context length (?:is|of))"
    r"\D{0,12}?(\d+)",
    re.I,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|prompt is too long"
    r"|exceeds? the (?:available )?(?:model's )?context",
    re.I,
)
_WANTED = re.compile(
    r"(?:resulted in|requested|contains at least|n_prompt_tokens|request \()\D{0,9}?(\d+)", re.I
)
_SECRET = re.compile(r"\b(?:sk|hf|pk|gsk|xai)[-_][\w*-]{4,}|(?<=Bearer )\S+")
_LONGEST = 500
_HIDDEN = "***"


def failure(error: BaseException, secrets: Collection[str] = ()) -> CallError:
    """The error that answers a call whose client raised ``error``.

    Args:
        error: What was raised. It stays the cause.
        secrets: Texts that must not be repeated.

    Raises:
        ConfigurationError: ``error`` is one: a wrong set-up is no failure of a call.

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
    found = _too_long(error) or _backend_error(error, secrets)
    found.__cause__ = error
    return found


def refused(error: BaseException, arguments: Set[str]) -> set[str]:
    """Those of the ``arguments`` that a client or a server does not take, going by its words.

    Empty where the call failed for another reason: a server that cannot be reached or is busy, a
    key that is wrong, a prompt that is too long.

    Examples:
        >>> refused(TypeError("got an unexpected keyword argument 'logprobs'"), {"logprobs"})
        {'logprobs'}
        >>> refused(TimeoutError("logprobs took too long"), {"logprobs"})
        set()
    """
    status = status_of(error)
    by_client = status is None and isinstance(error, TypeError | ValueError | RuntimeError)
    if not (by_client or status in _REFUSALS) or _TOO_LONG.search(str(error)):
        return set()
    return named(str(error), arguments)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, where there is one."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if type(value) is int and 400 <= value < 600:
                return value
    return None


def _backend_error(error: BaseException, secrets: Collection[str]) -> BackendError:
    status = status_of(error)
    words = _without_secrets(str(error), secrets)
    return BackendError(
        f"the model raised {type(error).__name__}: {words}" if words else type(error).__name__,
        retryable=_may_pass(error, status),
        retry_after_s=_retry_after(error),
    )


def _may_pass(error: BaseException, status: int | None) -> bool:
    if status is not None:
        return status in _PASSING or status >= 500
    return any(
        isinstance(e, ConnectionError | TimeoutError)
        or any(_UNREACHED.search(base.__name__) for base in type(e).__mro__)
        for e in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _retry_after(error: BaseException) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None)
    try:
        seconds = float(headers["retry-after"])  # type: ignore[index]  # or it is not there
    except (KeyError, TypeError, ValueError):
        return None  # a date, or nothing
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _too_long(error: BaseException) -> PromptTooLongError | None:
    words = str(error)
    if status_of(error) not in (400, 413, 422) or not _TOO_LONG.search(words):
        return None
    room, wanted = _ROOM.search(words), _WANTED.search(words)
    if room is None or wanted is None:
        return PromptTooLongError(1)
    return PromptTooLongError(max(1, int(wanted[1]) - int(room[1])), limit=int(room[1]))


def _without_secrets(text: str, secrets: Collection[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, _HIDDEN)
    text = " ".join(_SECRET.sub(_HIDDEN, text).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
