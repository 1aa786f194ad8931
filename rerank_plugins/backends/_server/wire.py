"""Readers of servers' answers: pure functions from HTTP and JSON to replies and errors."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal

from ..._content import content_text
from ...calls import Completion, with_cost
from ...errors import (
    BackendError,
    CallError,
    ConfigurationError,
    ModelOutputError,
    PromptTooLongError,
)
from .._answers.failures import (
    FORBIDDEN,
    RETRYABLE,
    SERVER_ERROR,
    WRONG_KEY,
    named,
    retry_after,
    too_long,
)
from .._answers.logprobs import read_positions
from .._answers.numbers import to_count, to_float
from .exchange import RefusedError

_LONGEST_DETAIL = 300
_READ_DETAIL = 4000  # characters, of which the second half only ends a key that would be cut
_MOST_DIGITS = 12  # of a token's id
_NEEDED = frozenset({"model", "prompt", "messages", "query", "documents", "texts"})
_VERSION = re.compile(r"[-:@](latest|\d{3,8}(-\d\d){0,2})(-preview)?")
_BROKEN = object()


def read_response(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    asked: Set[str] | None,
    *,
    hide: Callable[[str], str] = str,
) -> Any:
    """Decode the JSON of an answer, or turn the answer into a `CallError`.

    An error is never read as an answer, whether the status or the body says that it is one.

    Args:
        status: The HTTP status.
        headers: The answer's headers, by lower-case names.
        content: The answer's body.
        asked: The names of the request's arguments; None for a request without any, such as the
            list of models.
        hide: Masks secrets in a text of the server before it is shortened.

    Raises:
        ConfigurationError: The server refused the key.
    """
    try:
        decoded = json.loads(content)
    except (ValueError, RecursionError):
        decoded = _BROKEN
    detail = _detail(status, decoded, content, hide)
    # A 403 is not about the key if it names an argument that is not allowed, or if it refuses
    # the list of models: such a key may still use them.
    forbidden = status == FORBIDDEN and asked is not None and not named(detail, asked - _NEEDED)
    if status == WRONG_KEY or forbidden:
        raise ConfigurationError(
            f"the server refused the key ({status}: {detail})",
            hint="Give api_key=..., or name the variable that holds it in api_key_env.",
        )
    if not 200 <= status < 300:
        if place := 300 <= status < 400 and headers.get("location", ""):
            shown = hide(_printable(place[:_READ_DETAIL]))[:_LONGEST_DETAIL]
            return RefusedError(status, f"a redirect to {shown}", hint="Give base_url=...")
        return _refusal(status, headers, decoded, detail)
    if decoded is _BROKEN:
        return BackendError("the server's answer is not JSON, or was cut", retryable=True)
    if not isinstance(decoded, Mapping):
        return decoded
    error = "error" if decoded.get("object") == "error" else decoded.get("error")
    if error is not None:
        holder = error if isinstance(error, Mapping) else decoded
        code = error if isinstance(error, int) else holder.get("code")
        message = f"the server answered with an error ({detail})"
        return BackendError(message, retryable=not isinstance(code, int) or code in RETRYABLE)
    return _wrong_number_of_choices(decoded) or decoded


def _wrong_number_of_choices(decoded: Mapping[str, Any]) -> BackendError | None:
    if "choices" not in decoded:
        return None
    choices = decoded["choices"]
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], Mapping):
        return None
    n = len(choices) if isinstance(choices, list) else "no"
    return with_cost(
        BackendError(f"the server's answer has {n} choices, expected one", retryable=True),
        *usage(decoded),
    )


def _detail(status: int, decoded: Any, content: bytes, hide: Callable[[str], str]) -> str:
    """The server's words about an error; empty for an answer, in which masking would take time."""
    holder = decoded if isinstance(decoded, Mapping) else {}
    if 200 <= status < 300 and "error" not in holder and holder.get("object") != "error":
        return ""
    error = decoded.get("error", decoded) if isinstance(decoded, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else error
    text = (
        message if isinstance(message, str) else content[:_READ_DETAIL].decode("utf-8", "replace")
    )
    return (
        " ".join(hide(_printable(text[:_READ_DETAIL]))[: _READ_DETAIL // 2].split())[
            :_LONGEST_DETAIL
        ]
        or "an empty body"
    )


def _printable(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _refusal(status: int, headers: Mapping[str, str], decoded: Any, detail: str) -> CallError:
    longer = too_long(detail)
    # llama.cpp reports a pair that is too long as its own error.
    if status in RETRYABLE and not (longer and status == SERVER_ERROR):
        return BackendError(
            f"the server failed ({status}: {detail})",
            retryable=True,
            retry_after_s=retry_after(headers),
        )
    error = decoded.get("error") if isinstance(decoded, Mapping) else None
    numbers = error if isinstance(error, Mapping) else {}
    asked, limit = (
        to_count(numbers.get(key)) for key in ("n_prompt_tokens", "n_ctx")
    )  # llama.cpp's
    if asked is not None and limit is not None:
        return PromptTooLongError(max(1, asked - limit + 1), limit=limit)
    return longer or RefusedError(status, detail)


def first_choice(answer: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the only choice of an answer, after a check that the right model answered.

    Args:
        answer: The decoded answer.
        names: The model's name, and any other under which it answers.

    Raises:
        BackendError: The answer has another shape, or another number of choices.
        ConfigurationError: Another model answered.
    """
    if not isinstance(answer, Mapping) or "choices" not in answer:
        raise BackendError("the server's answer has no choices", retryable=True)
    if (error := _wrong_number_of_choices(answer)) is not None:
        raise error
    check_model(answer, names)
    choice: Mapping[str, Any] = answer["choices"][0]
    return choice


def check_model(answer: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse the answer of another model; a version (``gpt-x-2026-01-01``) counts as the model.

    Raises:
        ConfigurationError: Another model answered.

    Examples:
        >>> check_model({"model": "gpt-x-2026-01-01"}, ["openai/gpt-x"])
        >>> check_model({"model": "gpt-x-mini"}, ["gpt-x"])
        Traceback (most recent call last):
        rerank_plugins.errors.ConfigurationError: 'gpt-x' was asked, and 'gpt-x-mini' answered. \
Give model='gpt-x-mini', or answered_by='gpt-x-mini' if that is another name of the same model.
    """
    answered = answering(answer)
    if answered and not any(is_version(answered, name) for name in names):
        raise ConfigurationError(
            f"{names[0]!r} was asked, and {answered!r} answered",
            hint=f"Give model={answered!r}, or answered_by={answered!r} if that is another name "
            "of the same model.",
        )


def answering(answer: Any) -> str:
    """The name of the model that answered; empty if the answer does not say."""
    name = answer.get("model") if isinstance(answer, Mapping) else None
    return _printable(name) if isinstance(name, str) else ""


def is_version(answered: str, name: str) -> bool:
    """Whether a model is the one of this name, or a version of it."""
    short, wanted = (x.rpartition("/")[2].casefold() for x in (answered, name))
    wanted = wanted.removesuffix("-latest").removesuffix(":latest")
    return short.startswith(wanted) and (
        short == wanted or _VERSION.fullmatch(short, len(wanted)) is not None
    )


def reported_ids(choice: Mapping[str, Any]) -> dict[int, Any]:
    """Log-probabilities at the first position by token id, if the server gives ids.

    As ``token_id:49`` instead of a text (vLLM), or as ``id`` beside it (llama.cpp).
    """
    found: dict[int, Any] = {}  # checked where it is read
    positions = read_positions(choice.get("logprobs"))
    for token, value in positions[0].top if positions else ():
        name, _, number = token.partition(":")
        if name == "token_id" and number.isdecimal() and len(number) < _MOST_DIGITS:
            found[int(number)] = value
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    tops = first.get("top_logprobs") if isinstance(first, Mapping) else None
    for top in tops if isinstance(tops, list) else ():
        if isinstance(top, Mapping) and type(top.get("id")) is int:
            found[top["id"]] = top.get("logprob")
    return found


def completion(choice: Mapping[str, Any], *, logprobs: bool) -> Completion:
    """Read the text that the model wrote.

    Args:
        choice: The choice of an answer.
        logprobs: Whether to read the tokens with their log-probabilities too.

    Raises:
        BackendError: There is no text.
    """
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if content is None and isinstance(message, Mapping):
        content = ""  # nothing but reasoning, or a refusal: an empty answer
    text = content_text(content)
    if text is None:
        raise BackendError("the server's answer has no text", retryable=True)
    reason: Literal["stop", "length"] = (
        "length" if choice.get("finish_reason") == "length" else "stop"
    )
    return Completion(_printable(text), reason, _tokens(choice) if logprobs else ())


def _tokens(choice: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return ()
    content = logprobs.get("content")
    if isinstance(content, list):
        pairs = [(e.get("token"), e.get("logprob")) for e in content if isinstance(e, Mapping)]
    else:
        columns = (logprobs.get(key) for key in ("tokens", "token_logprobs"))
        pairs = list(zip(*(x if isinstance(x, list) else () for x in columns), strict=False))
    read = ((token, to_float(x)) for token, x in pairs if isinstance(token, str))
    return tuple((_printable(token), x) for token, x in read if x is not None)


def prompt_logprobs(choice: Mapping[str, Any], n: int) -> list[float]:
    """Read the log-probabilities of the ``n`` tokens of an echoed prompt, without the first.

    Raises:
        ModelOutputError: There are fewer, or one is not a number.
    """
    logprobs = choice.get("logprobs")
    values = logprobs.get("token_logprobs") if isinstance(logprobs, Mapping) else None
    if not isinstance(values, list) or len(values) < n:
        raise ModelOutputError("the server did not report the prompt's log-probabilities")
    found = [x for x in map(to_float, values[1:n]) if x is not None]
    if len(found) < n - 1 or not math.isfinite(sum(found)):
        raise ModelOutputError("the server reported log-probabilities that are not numbers")
    return found


def usage(answer: Any) -> tuple[int, int]:
    """Tokens read and written, as the server counts them; 0 if it reports no usage.

    Scores of pairs may come with their total only.
    """
    found = answer.get("usage") if isinstance(answer, Mapping) else None
    numbers = found if isinstance(found, Mapping) else {}
    read, written, total = (
        to_count(numbers.get(key)) for key in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if read is None and written is None:
        read = total
    return read or 0, written or 0


def pair_scores(answer: Any, n: int) -> Sequence[float | None]:
    """Read the score of each of ``n`` passages; None for one that is left out or has none.

    The answer is of vLLM's ``/score``, TEI's ``/rerank``, or the ``/v1/rerank`` of Jina, Cohere,
    Voyage and vLLM.

    Raises:
        BackendError: The answer has another shape.
    """
    rows = _scored(answer)
    if not isinstance(rows, list):
        raise BackendError("the server's answer has no list of scores", retryable=True)
    scores: list[float | None] = [None] * n
    for row in rows:
        place = row.get("index") if isinstance(row, Mapping) else None
        if type(place) is not int or not 0 <= place < n or scores[place] is not None:
            raise BackendError(f"the server's answer does not score each of {n} passages once")
        value = row.get("relevance_score", row.get("score"))
        number = to_float(value)
        scores[place] = None if value is None else math.nan if number is None else number
    return scores


def has_pair_scores(answer: Any, n: int) -> bool:
    """True when the answer is one of `pair_scores`, with a score or a null for each passage.

    A service whose model fails for the moment gives null.
    """
    try:
        pair_scores(answer, n)
    except CallError:
        return False
    rows = _scored(answer)
    return len(rows) == n and all("relevance_score" in row or "score" in row for row in rows)


def _scored(answer: Any) -> Any:
    """The list of scores in an answer, if it has one."""
    if not isinstance(answer, Mapping):
        return answer
    return answer.get("data") if answer.get("results") is None else answer["results"]


def sglang_ids(answer: Any) -> dict[int, Any]:
    """Log-probabilities at the first position by token id, from SGLang's ``/generate``."""
    meta = answer.get("meta_info") if isinstance(answer, Mapping) else None
    places = meta.get("output_token_ids_logprobs") if isinstance(meta, Mapping) else None
    first = places[0] if isinstance(places, list) and places else None
    listed = first if isinstance(first, list) else ()
    rows = [row for row in listed if isinstance(row, list) and len(row) >= 2]
    return {row[1]: row[0] for row in rows if type(row[1]) is int}
