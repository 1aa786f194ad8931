"""Transcripts: calls and their replies, one JSON object a line.

A transcript is the golden file of a prompt, the record of an expensive run, and a test without
a model: `rerank_plugins.testing.Replay` answers from it.
"""

import json
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from .._checks import fits
from .._copies import CopiedByArguments
from .._files import rows_of
from .._threads import renewed_by_forks
from ..calls import (
    Attend,
    Batch,
    Call,
    Completion,
    ContinuationLogprob,
    Embed,
    Generate,
    Hit,
    Identifier,
    LabelLogprobs,
    Likelihood,
    Message,
    NextToken,
    PairKind,
    PassageAttention,
    Plan,
    Prompt,
    Replies,
    Reply,
    ScorePair,
    Search,
    Untrusted,
    Vectors,
    WrittenOrder,
)
from ..errors import BackendError, CallError, InputError, PromptTooLongError
from ..handlers import AnyBackend
from ._layers import Layer

_ANSWERS: Mapping[type[Call[Any]], Any] = {
    NextToken: LabelLogprobs,
    Generate: Completion,
    Likelihood: ContinuationLogprob,
    ScorePair: float,
    Embed: Vectors,
    Attend: PassageAttention,
    Search: tuple[Hit, ...],
}

logger = logging.getLogger("rerank_plugins.middleware")


def recorded(backend: AnyBackend, path: str | Path) -> Layer:
    """Append every call and its reply to a JSON Lines file.

    The file holds the queries, passages and answers in plain text.

    If the file cannot be written later, because the disk is full, the ranking goes on and the
    recording ends: the log has one warning, the batch that was being written is taken back, and
    nothing more is added.

    Args:
        backend: The backend to wrap.
        path: The file; created if it does not exist.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        Path(path).open("a", encoding="utf-8").close()
    except OSError as error:
        raise InputError(f"cannot write the transcript: {error}") from error
    return Layer(backend, _Recorder(Path(path)))


@dataclass(eq=False)
class _Recorder(CopiedByArguments):
    path: Path

    def __post_init__(self) -> None:
        self._lock, self._ended = renewed_by_forks(threading.Lock()), False

    def __call__(self, calls: Batch) -> Plan[Replies]:
        replies = (yield calls) if calls else []
        lines = [
            json.dumps({"call": encode_call(c), "reply": encode_reply(r)}, ensure_ascii=True)
            for c, r in zip(calls, replies, strict=True)
        ]
        with self._lock:
            if not self._ended:
                self._append("".join(f"{line}\n" for line in lines).encode())
        return replies

    def _append(self, data: bytes) -> None:
        """Append, or end the recording at the last whole batch."""
        try:
            with self.path.open("ab", buffering=0) as file:
                size, left = os.fstat(file.fileno()).st_size, memoryview(data)
                try:
                    while left:
                        left = left[file.write(left) :]
                except OSError:
                    with suppress(OSError):  # a pipe has no size
                        file.truncate(size)
                    raise
        except OSError as error:
            self._ended = True
            logger.warning("the recording in %s ends here: %s", self.path, error)


def read_transcript(path: str | Path) -> Iterator[tuple[Call[Any], Reply[Any] | CallError]]:
    """Read the calls and replies of a file that `recorded` wrote.

    Raises:
        InputError: The file cannot be read, or a line is not part of a transcript.
    """
    for number, entry in rows_of(Path(path)):
        try:
            call = decode_call(entry["call"])
            reply = decode_reply(entry["reply"], call)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {path} is not a transcript: {error}") from error
        if not fits(call, type(call)) or not _answers(reply, call):
            text = f"line {number} of {path} is not a transcript: a value is of a wrong type"
            raise InputError(text)
        yield call, reply


def _answers(reply: Reply[Any] | CallError, call: Call[Any]) -> bool:
    """True when the values of a reply are of their types, and its answer is one to the call."""
    if isinstance(reply, PromptTooLongError):
        return fits((reply.excess_tokens, reply.limit), tuple[int, int | None])
    if isinstance(reply, CallError):
        return fits(reply.retryable, bool)
    counts = (reply.prompt_tokens, reply.generated_tokens, reply.truncated)
    whole = fits(counts, tuple[int, int, tuple[int, ...]]) and fits(reply.score_kind, PairKind)
    return whole and fits(reply.answer, _ANSWERS[type(call)])


def encode_call(call: Call[Any]) -> dict[str, Any]:
    """Turn a call into plain JSON values."""
    return {"kind": type(call).__name__, **asdict(call)}  # type: ignore[call-overload]  # every kind is a dataclass


def decode_call(data: Mapping[str, Any]) -> Call[Any]:
    """Turn the values of `encode_call` back into a call."""
    values = {k: v for k, v in data.items() if k != "kind"}
    if "prompt" in values:
        values["prompt"] = _prompt(values["prompt"])
    if "continuation" in values:
        values["continuation"] = Untrusted(**values["continuation"])
    if values.get("until") is not None:
        order = values["until"]
        values["until"] = WrittenOrder(**{name: _tuples(value) for name, value in order.items()})
    kinds = {kind.__name__: kind for kind in _ANSWERS}
    return kinds[data["kind"]](**{k: _tuples(v) for k, v in values.items()})


def encode_reply(reply: Reply[Any] | CallError) -> dict[str, Any]:
    """Turn a reply into plain JSON values."""
    if isinstance(reply, PromptTooLongError):
        return {"excess_tokens": reply.excess_tokens, "limit": reply.limit}
    if isinstance(reply, CallError):
        cost = {"prompt_tokens": reply.prompt_tokens, "generated_tokens": reply.generated_tokens}
        return {
            "error": str(reply),
            "retryable": reply.retryable,
            **{name: tokens for name, tokens in cost.items() if tokens},
        }
    data = asdict(reply)
    if not isinstance(reply.answer, Real):
        del data["score_kind"]  # only scores have one
    if isinstance(reply.answer, tuple):  # hits, whose vectors may be arrays
        data["answer"] = [
            {**hit, "vector": [float(x) for x in hit["vector"]]} for hit in data["answer"]
        ]
    if isinstance(reply.answer, LabelLogprobs) and math.isinf(reply.answer.floor):
        data["answer"]["floor"] = None  # JSON has no infinity
    return data


def decode_reply(data: Mapping[str, Any], call: Call[Any]) -> Reply[Any] | CallError:
    """Turn the values of `encode_reply` back into the reply to ``call``."""
    if "excess_tokens" in data:
        return PromptTooLongError(data["excess_tokens"], limit=data["limit"])
    if "error" in data:
        cost = {name: data.get(name, 0) for name in ("prompt_tokens", "generated_tokens")}
        if not isinstance(data["error"], str) or any(type(x) is not int for x in cost.values()):
            raise TypeError("the error is not a text, or its cost not a number")
        return BackendError(data["error"], retryable=data["retryable"], **cost)
    values = {k: _tuples(v) for k, v in data.items()}
    return Reply(**{**values, "answer": _answer(data["answer"], call)})


def _answer(data: Any, call: Call[Any]) -> Any:
    match call:
        case NextToken():
            floor = -math.inf if data["floor"] is None else data["floor"]
            return LabelLogprobs(data["seen"], floor, data.get("normaliser"))
        case Generate():
            return Completion(**{k: _tuples(v) for k, v in data.items()})
        case Likelihood():
            return ContinuationLogprob(**data)
        case Embed():
            return Vectors(_tuples(data["rows"]))
        case Attend():
            return PassageAttention(**{k: _tuples(v) for k, v in data.items()})
        case Search():
            return tuple(Hit(**{k: _tuples(v) for k, v in hit.items()}) for hit in data)
        case _:
            return data


def _prompt(data: Mapping[str, Any]) -> Prompt:
    messages = tuple(Message(m["role"], tuple(map(_part, m["parts"]))) for m in data["messages"])
    prefill = data["prefill"]
    parts = prefill if isinstance(prefill, str) else tuple(map(_part, prefill))
    return Prompt(messages, parts, data["chat"])


def _part(data: str | Mapping[str, Any]) -> Any:
    if isinstance(data, str):
        return data
    return Untrusted(**data) if "text" in data else Identifier(**data)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
