"""What servers answer, as values: pure functions from HTTP and JSON to replies and errors."""

import json
import re
from collections.abc import Mapping, Sequence, Set
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from ...calls import Completion
from ...errors import (
    BackendError,
    CallError,
    ConfigurationError,
    ModelOutputError,
    PromptTooLongError,
)
from .._answers.logprobs import read_positions
from ..chat._dialects import named
from .exchange import RefusedError

_NEVER = frozenset({501, 505})  # not implemented: a refusal, whatever its hundred
_RETRYABLE = (frozenset({408, 409, 425, 429}) | frozenset(range(500, 600))) - _NEVER
_LONGEST_DETAIL = 300
_NO_KEY, _FORBIDDEN = 401, 403
_NEEDED = frozenset({"model", "prompt", "messages", "query", "documents", "texts"})
_NUMBER = r"(\d{1,9})"
_VERSION = re.compile(r"[-:@](latest|\d{3,8}(-\d\d){0,2})(-preview)?")
_CONTEXT = re.compile(
    rf"maximum context length is {_NUMBER} tokens.*?"
    rf"(?P<least>at least )?{_NUMBER} (?:input )?tokens",
    re.DOTALL,
)


def read_response(
    status: int, headers: Mapping[str, str], content: bytes, asked: Set[str] | None
) -> Any:
    """The decoded JSON of an answer, or the `CallError` that it is.

    An error is never read as an answer: not where the status says so, and not where the body does.

    Args:
        status: The HTTP status.
        headers: Those of the answer, by lower-case names.
        content: Its body.
        asked: The names of the arguments of the question; None where there was none, as for the
            list of models.

    Raises:
        ConfigurationError: The server refused the key.
    """
    decoded = _decoded(content)
    if status == _NO_KEY or (status == _FORBIDDEN and _key_is_wrong(decoded, content, asked)):
        raise ConfigurationError(
            f"the server refused the key ({status}: {_detail(decoded, content)})",
            hint="Give api_key=..., or name the variable that holds it in api_key_env.",
        )
    if status in _RETRYABLE:
        return BackendError(
            f"the server failed ({status}: {_detail(decoded, content)})",
            retryable=True,
            retry_after_s=_retry_after(headers),
        )
    if not 200 <= status < 300:
        return _refusal(status, decoded, content)
    if decoded is _BROKEN:
        return BackendError("the server's answer is no JSON, or was cut", retryable=True)
    if (error := _error_in(decoded)) is not None:
        code = error if isinstance(error, int) else _code(decoded)
        message = f"the server answered with an error ({_detail(decoded, content)})"
        return BackendError(message, retryable=code is None or code in _RETRYABLE)
    return _several(decoded) or decoded


_BROKEN = object()


def _key_is_wrong(decoded: Any, content: bytes, asked: Set[str] | None) -> bool:
    """Whether a 403 is about the key: not where it names an argument that one may not use.

    A key that may not list models may use them all the same.
    """
    return asked is not None and not named(_detail(decoded, content), asked - _NEEDED)


def _several(decoded: Any) -> BackendError | None:
    """The error that an answer with another number of choices than one is."""
    if not isinstance(decoded, Mapping) or "choices" not in decoded:
        return None
    choices = decoded["choices"]
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], Mapping):
        return None
    n = len(choices) if isinstance(choices, list) else "no"
    return BackendError(f"the server's answer has {n} choices, expected one", retryable=True)


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return _BROKEN


def _error_in(decoded: Any) -> Any:
    if not isinstance(decoded, Mapping):
        return None
    return "error" if decoded.get("object") == "error" else decoded.get("error")


def _code(decoded: Mapping[str, Any]) -> int | None:
    error = decoded.get("error")
    found = (error if isinstance(error, Mapping) else decoded).get("code")
    return found if isinstance(found, int) else None


def _detail(decoded: Any, content: bytes) -> str:
    error = decoded.get("error", decoded) if isinstance(decoded, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else error
    text = message if isinstance(message, str) else content[:2000].decode("utf-8", "replace")
    return " ".join(text.split())[:_LONGEST_DETAIL] or "an empty body"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
        return float(value)
    try:
        from datetime import UTC, datetime

        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _refusal(status: int, decoded: Any, content: bytes) -> CallError:
    detail = _detail(decoded, content)
    error = decoded.get("error") if isinstance(decoded, Mapping) else None
    numbers = error if isinstance(error, Mapping) else {}
    asked, limit = numbers.get("n_prompt_tokens"), numbers.get("n_ctx")  # llama.cpp's
    if isinstance(asked, int) and isinstance(limit, int):
        return PromptTooLongError(max(1, asked - limit + 1), limit=limit)
    if found := _CONTEXT.search(detail):
        limit, asked = int(found[1]), int(found[3])
        # "At least" one too many, or characters: nobody counted the tokens. A quarter is a guess.
        excess = limit // 4 if found["least"] or asked <= limit else asked - limit
        return PromptTooLongError(max(1, excess), limit=limit)
    return RefusedError(status, detail)


def first_choice(answer: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """The one choice of an answer that is of the model that was asked.

    Args:
        answer: What was answered.
        names: The model's name, and any other that it answers by.

    Raises:
        BackendError: The answer has another shape, or another number of choices.
        ConfigurationError: Another model answered.
    """
    if not isinstance(answer, Mapping) or "choices" not in answer:
        raise BackendError("the server's answer has no choices", retryable=True)
    if (error := _several(answer)) is not None:
        raise error
    check_model(answer, names)
    choice: Mapping[str, Any] = answer["choices"][0]
    return choice


def check_model(answer: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse the answer of another model; versions of the same (``gpt-x-2026-01-01``) are it.

    Raises:
        ConfigurationError: It is another one.

    Examples:
        >>> check_model({"model": "gpt-x-2026-01-01"}, ["openai/gpt-x"])
        >>> check_model({"model": "gpt-x-mini"}, ["gpt-x"])
        Traceback (most recent call last):
        rerank_plugins.errors.ConfigurationError: 'gpt-x' was asked, and 'gpt-x-mini' answered. \
Give model='gpt-x-mini', or answered_by='gpt-x-mini' where that is another name of the same.
    """
    answered = answer.get("model")
    if not isinstance(answered, str) or not answered:
        return
    if not any(_is_version(answered, name) for name in names):
        raise ConfigurationError(
            f"{names[0]!r} was asked, and {answered!r} answered",
            hint=f"Give model={answered!r}, or answered_by={answered!r} where that is another "
            "name of the same.",
        )


def _is_version(answered: str, name: str) -> bool:
    short, wanted = (x.rpartition("/")[2].casefold() for x in (answered, name))
    wanted = wanted.removesuffix("-latest").removesuffix(":latest")
    return short.startswith(wanted) and (
        short == wanted or _VERSION.fullmatch(short, len(wanted)) is not None
    )


def reported_ids(choice: Mapping[str, Any]) -> dict[int, Any]:
    """Log-probabilities at the first position by token id, where the server gives ids.

    As ``token_id:49`` instead of a text (vLLM), or as ``id`` beside it (llama.cpp).
    """
    found: dict[int, Any] = {}  # checked where it is read
    for token, value in _first_alternatives(choice):
        name, _, number = token.partition(":")
        if name == "token_id" and number.isdecimal():
            found[int(number)] = value
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    tops = first.get("top_logprobs") if isinstance(first, Mapping) else None
    for top in tops or []:
        if isinstance(top, Mapping) and isinstance(top.get("id"), int):
            found[top["id"]] = top.get("logprob")
    return found


def _first_alternatives(choice: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    found = read_positions(choice.get("logprobs"))
    return found[0].top if found else ()


def completion(choice: Mapping[str, Any], prefill: str, *, logprobs: bool) -> Completion:
    """What was written, without the prefill where the model wrote that too.

    Raises:
        BackendError: There is no text.
    """
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if text is None and isinstance(message, Mapping):
        text = ""  # nothing but reasoning, or a refusal: an empty answer
    if not isinstance(text, str):
        raise BackendError("the server's answer has no text", retryable=True)
    reason: Literal["stop", "length"] = (
        "length" if choice.get("finish_reason") == "length" else "stop"
    )
    tokens = _written(choice) if logprobs else ()
    if prefill and text.lstrip().startswith(prefill.strip()):
        text = text.lstrip().removeprefix(prefill.strip())
    return Completion(text, reason, tokens)


def _written(choice: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return ()
    content = logprobs.get("content")
    if isinstance(content, list):
        pairs = [(e.get("token"), e.get("logprob")) for e in content if isinstance(e, Mapping)]
    else:
        pairs = list(
            zip(logprobs.get("tokens") or (), logprobs.get("token_logprobs") or (), strict=False)
        )
    return tuple((str(token), float(x)) for token, x in pairs if isinstance(x, int | float))


def prompt_logprobs(choice: Mapping[str, Any], n: int) -> list[float]:
    """The log-probabilities of the ``n`` tokens of an echoed prompt; the first has none.

    Raises:
        ModelOutputError: There are fewer, or one is not a number.
    """
    logprobs = choice.get("logprobs")
    values = logprobs.get("token_logprobs") if isinstance(logprobs, Mapping) else None
    if not isinstance(values, list) or len(values) < n:
        raise ModelOutputError("the server did not report the prompt's log-probabilities")
    found = values[1:n]
    if not all(isinstance(x, int | float) and x == x for x in found):
        raise ModelOutputError("the server reported log-probabilities that are not numbers")
    return [float(x) for x in found]


def usage(answer: Any) -> tuple[int, int]:
    """Tokens read and written, as the server counts them; 0 where it says nothing."""
    found = answer.get("usage") if isinstance(answer, Mapping) else None
    numbers = found if isinstance(found, Mapping) else {}
    pair = [numbers.get(key) for key in ("prompt_tokens", "completion_tokens")]
    read, written = (x if isinstance(x, int) and x >= 0 else 0 for x in pair)
    return read, written


def pair_scores(answer: Any, n: int) -> Sequence[float | None]:
    """The score of each of ``n`` passages; None where the answer has none.

    Reads vLLM's ``/score``, TEI's ``/rerank`` and the ``/v1/rerank`` of Jina, Cohere and vLLM.

    Raises:
        BackendError: The answer has another shape.
    """
    rows = answer
    if isinstance(answer, Mapping):
        rows = answer.get("results", answer.get("data"))
    if not isinstance(rows, list):
        raise BackendError("the server's answer holds no list of scores", retryable=True)
    scores: list[float | None] = [None] * n
    for row in rows:
        place = row.get("index") if isinstance(row, Mapping) else None
        if not isinstance(place, int) or not 0 <= place < n or scores[place] is not None:
            raise BackendError(f"the server's answer scores a passage {place!r} of {n}")
        value = row.get("relevance_score", row.get("score"))
        scores[place] = float(value) if isinstance(value, int | float) else None
    return scores


def sglang_ids(answer: Any) -> dict[int, Any]:
    """Log-probabilities at the first position by token id, from SGLang's ``/generate``."""
    meta = answer.get("meta_info") if isinstance(answer, Mapping) else None
    places = meta.get("output_token_ids_logprobs") if isinstance(meta, Mapping) else None
    first = places[0] if isinstance(places, list) and places else None
    rows = [row for row in first or [] if isinstance(row, list) and len(row) >= 2]
    return {row[1]: row[0] for row in rows if isinstance(row[1], int)}
