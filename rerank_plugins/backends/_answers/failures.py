"""The one table of foreign failures: statuses, headers and words become the library's errors.

No client library is imported: an exception is recognised by its status, its text and the name of
its class.
"""

import math
import re
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Set
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TypeVar

from ...errors import BackendError, CallError, ConfigurationError, PromptTooLongError, RerankError

WRONG_KEY, FORBIDDEN, NOT_FOUND, SERVER_ERROR = 401, 403, 404, 500
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
    r"(?:maximum context length (?:is|of)|context size|n_ctx|context length (?:is|of)"
    r"|current batch size|must have less than)"
    rf"\D{{0,12}}?{_NUMBER}",
    re.I,
)
_LENGTH = re.compile(
    r"(?:resulted in|requested|contains at least|n_prompt_tokens|request \(|input \(|given:)"
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
_ENCODED_LENGTH = 6  # bytes of a secret that is looked for in base64: a shorter one may be chance
_HTML = {'"': "quot", "'": "apos", "&": "amp", "<": "lt", ">": "gt"}

E = TypeVar("E", bound=RerankError)


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
    return without_secrets(found, secrets)


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
    """Return those of ``names`` that occur in ``text`` as whole words, in any spelling.

    Examples:
        >>> named("top_logprobs must be at most 5", {"logprobs", "top_logprobs"})
        {'top_logprobs'}
        >>> named("Logprobs is not enabled", {"logprobs", "top_logprobs"})
        {'logprobs'}
        >>> named("unknown field: topLogprobs", {"top_logprobs", "top_k"})
        {'top_logprobs'}
    """
    spelt = {name: re.escape(name).replace("_", "_?") for name in names}
    return {name for name in names if re.search(rf"\b{spelt[name]}\b", text, re.I)}


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, if there is one."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if type(value) is int and 400 <= value < 600:
                return value
    return None


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header: see `rerank_plugins.handlers.LONGEST_WAIT_S`.

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
            date = parsedate_to_datetime(value)  # without a zone, it is in GMT (RFC 9110)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            seconds = (date - datetime.now(UTC)).total_seconds()
        except (AttributeError, OverflowError, TypeError, ValueError):
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


def mask(text: str, secrets: Collection[str]) -> str:
    """Replace secrets in a text, also where they are encoded.

    In any case: as they are, with backslashes, with JSON's, Python's, URLs' and HTML's escapes
    (also several times over), in base64 (also within a longer text) and in hexadecimal.

    Examples:
        >>> mask("wrong key sk-1234/x, or sk%2D1234%2Fx", ["sk-1234/x"])
        'wrong key ***, or ***'
    """
    pattern = _pattern(tuple(secrets))
    return text if pattern is None else pattern.sub(_HIDDEN, text)


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> "re.Pattern[str] | None":
    forms = {form for secret in secrets if secret for form in (secret, *_encoded(secret))}
    spelt = ("".join(map(_any_spelling, form)) for form in sorted(forms, key=len, reverse=True))
    return re.compile("|".join(spelt), re.IGNORECASE) if forms else None


def _encoded(secret: str) -> Iterator[str]:
    """A secret in hexadecimal, and what a text's base64 has of it at each of the three offsets."""
    raw = secret.encode("utf-8", "surrogatepass")
    yield from (raw.hex(), raw.hex().upper())
    for offset in range(3 if len(raw) >= _ENCODED_LENGTH else 0):
        whole = b64encode(b"\0" * offset + raw).decode()
        part = whole[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        yield from (part, part.replace("+", "-").replace("/", "_"))


def _any_spelling(char: str) -> str:
    """A pattern for a character as it is and as it is escaped; of bounded length."""
    code = ord(char)
    percent = "".join(rf"%(?:25){{0,4}}(?i:{byte:02x})" for byte in char.encode("utf-8", "replace"))
    escapes = rf"\\{{1,8}}(?:u(?i:{code:04x})|x(?i:{code:02x}))"
    html = rf"&(?:amp;){{0,4}}#(?:0{{0,5}}{code}|[xX]0{{0,5}}(?i:{code:x}));"
    named = rf"|&(?:amp;){{0,4}}{_HTML[char]};" if char in _HTML else ""
    plus = r"|\+" if char == " " else ""
    return rf"(?:\\{{0,8}}{re.escape(char)}|{escapes}|{percent}|{html}{named}{plus})"


def without_secrets(error: E, secrets: Collection[str]) -> E:
    """Mask secrets in an error, and drop causes that hold one: a traceback would show them."""
    error.args = tuple(mask(x, secrets) if isinstance(x, str) else x for x in error.args)
    own = vars(error)
    own.update({k: mask(v, secrets) for k, v in own.items() if isinstance(v, str)})
    cause, seen = error.__cause__ or error.__context__, set[int]()
    while cause is not None and id(cause) not in seen:
        said = f"{cause} {cause!r}"
        if mask(said, secrets) != said:
            error.__cause__ = error.__context__ = None
            break
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return error


def _without_secrets(text: str, secrets: Collection[str]) -> str:
    text = " ".join(_SECRET.sub(_HIDDEN, mask(text, secrets)).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
