"""Readers of servers' answers: pure functions from HTTP and JSON to replies and errors."""

import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal

from ..._content import content_text
from ...calls import Completion
from ...errors import (
    BackendError,
    CallError,
    ConfigurationError,
    ModelOutputError,
    PromptTooLongError,
)
from .._answers.failures import FORBIDDEN, RETRYABLE, WRONG_KEY, named, retry_after, too_long
from .._answers.logprobs import read_positions
from .exchange import RefusedError

_LONGEST_DETAIL = 300
_READ_DETAIL = 4000  # characters, of which the second half only ends a key that would be cut
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
    detail = _detail(decoded, content, hide)
    # A 403 is not about the key if it names an argument that is not allowed, or if it refuses
    # the list of models: such a key may still use them.
    forbidden = status == FORBIDDEN and asked is not None and not named(detail, asked - _NEEDED)
    if status == WRONG_KEY or forbidden:
        raise ConfigurationError(
            f"the server refused the key ({status}: {detail})",
            hint="Give api_key=..., or name the variable that holds it in api_key_env.",
        )
    if status in RETRYABLE:
        return BackendError(
            f"the server failed ({status}: {detail})",
            retryable=True,
            retry_after_s=retry_after(headers),
        )
    if not 200 <= status < 300:
        return _refusal(status, decoded, detail)
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
    return BackendError(f"the server's answer has {n} choices, expected one", retryable=True)


def _detail(decoded: Any, content: bytes, hide: Callable[[str], str]) -> str:
    error = decoded.get("error", decoded) if isinstance(decoded, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else error
    text = (
        message if isinstance(message, str) else content[:_READ_DETAIL].decode("utf-8", "replace")
    )
    return (
        " ".join(hide(text[:_READ_DETAIL])[: _READ_DETAIL // 2].split())[:_LONGEST_DETAIL]
        or "an empty body"
    )


def _refusal(status: int, decoded: Any, detail: str) -> CallError:
    error = decoded.get("error") if isinstance(decoded, Mapping) else None
    numbers = error if isinstance(error, Mapping) else {}
    asked, limit = numbers.get("n_prompt_tokens"), numbers.get("n_ctx")  # llama.cpp's
    if isinstance(asked, int) and isinstance(limit, int):
        return PromptTooLongError(max(1, asked - limit + 1), limit=limit)
    return too_long(detail) or RefusedError(status, detail)


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
    answered = answer.get("model")
    if not isinstance(answered, str) or not answered:
        return
    if not any(_is_version(answered, name) for name in names):
        raise ConfigurationError(
            f"{names[0]!r} was asked, and {answered!r} answered",
            hint=f"Give model={answered!r}, or answered_by={answered!r} if that is another name "
            "of the same model.",
        )


def _is_version(answered: str, name: str) -> bool:
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
    return Completion(text, reason, _tokens(choice) if logprobs else ())


def _tokens(choice: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
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
    """Read the log-probabilities of the ``n`` tokens of an echoed prompt, without the first.

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
    """Tokens read and written, as the server counts them; 0 if it reports no usage."""
    found = answer.get("usage") if isinstance(answer, Mapping) else None
    numbers = found if isinstance(found, Mapping) else {}
    pair = [numbers.get(key) for key in ("prompt_tokens", "completion_tokens")]
    read, written = (x if isinstance(x, int) and x >= 0 else 0 for x in pair)
    return read, written


def pair_scores(answer: Any, n: int) -> Sequence[float | None]:
    """Read the score of each of ``n`` passages; None for one that is left out or has none.

    The answer is of vLLM's ``/score``, TEI's ``/rerank``, or the ``/v1/rerank`` of Jina, Cohere
    and vLLM.

    Raises:
        BackendError: The answer has another shape.
    """
    rows = answer
    if isinstance(answer, Mapping):
        rows = answer.get("results", answer.get("data"))
    if not isinstance(rows, list):
        raise BackendError("the server's answer has no list of scores", retryable=True)
    scores: list[float | None] = [None] * n
    for row in rows:
        place = row.get("index") if isinstance(row, Mapping) else None
        if not isinstance(place, int) or not 0 <= place < n or scores[place] is not None:
            raise BackendError(f"the server's answer scores a passage {place!r} of {n}")
        value = row.get("relevance_score", row.get("score"))
        scores[place] = float(value) if isinstance(value, int | float) else None
    return scores


def has_pair_scores(answer: Any, n: int) -> bool:
    """True when the answer is one of `pair_scores`, with a score or a null for each passage.

    A service whose model fails for the moment gives null.
    """
    try:
        pair_scores(answer, n)
    except CallError:
        return False
    rows = answer.get("results", answer.get("data")) if isinstance(answer, Mapping) else answer
    return len(rows) == n and all("relevance_score" in row or "score" in row for row in rows)


def sglang_ids(answer: Any) -> dict[int, Any]:
    """Log-probabilities at the first position by token id, from SGLang's ``/generate``."""
    meta = answer.get("meta_info") if isinstance(answer, Mapping) else None
    places = meta.get("output_token_ids_logprobs") if isinstance(meta, Mapping) else None
    first = places[0] if isinstance(places, list) and places else None
    rows = [row for row in first or [] if isinstance(row, list) and len(row) >= 2]
    return {row[1]: row[0] for row in rows if isinstance(row[1], int)}
