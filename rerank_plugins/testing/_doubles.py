"""Backends without a model: a script, rubbish, a failure, a recording."""

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from .._files import rows_of
from ..calls import (
    Attend,
    Batch,
    Call,
    Completion,
    ContinuationLogprob,
    Embed,
    Generate,
    LabelLogprobs,
    Likelihood,
    NextToken,
    PassageAttention,
    Replies,
    Reply,
    ScorePair,
    Vectors,
)
from ..errors import BackendError, CallError, ContractError, InputError
from ..middleware import read_transcript
from ._oracle import Oracle, number_of_vectors


class Scripted:
    """A backend that gives prepared answers in order, whatever is asked.

    Args:
        answers: Texts (for `Generate`), answers of other kinds, or `CallError` values.

    Attributes:
        asked: Every call, in order.
    """

    def __init__(self, answers: Iterable[Any]) -> None:
        self._answers = iter(answers)
        self.asked: list[Call[Any]] = []

    def run(self, calls: Batch) -> Replies:
        """Give the next answers.

        Raises:
            ContractError: The script is over.
        """
        self.asked += calls
        return [self._next() for _ in calls]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)

    def _next(self) -> Reply[Any] | CallError:
        for answer in self._answers:
            if isinstance(answer, CallError | Reply):
                return answer
            return Reply(Completion(answer) if isinstance(answer, str) else answer)
        raise ContractError(f"the script has no answer to call {len(self.asked)}")


class Constant:
    """A backend that finds everything equally relevant, at once: for timing what is around it."""

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset(
        {NextToken, Generate, Likelihood, ScorePair, Embed, Attend}
    )

    def run(self, calls: Batch) -> Replies:
        """The same for every call of a kind: labels tie, and what is written is empty."""
        return [self._reply(call) for call in calls]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)

    def _reply(self, call: Call[Any]) -> Reply[Any] | CallError:
        match call:
            case NextToken(labels=labels):
                return Reply(LabelLogprobs(dict.fromkeys(labels, 0.0), 0.0, normaliser=0.0))
            case Generate():
                return Reply(Completion(""))
            case Likelihood():
                return Reply(ContinuationLogprob(0.0, 1))
            case Embed():
                return Reply(Vectors(((1.0,),) * number_of_vectors(call)))
            case Attend(prompt=prompt):
                count = sum(part.kind == "passage" for part in prompt.untrusted)
                return Reply(PassageAttention((0.0,) * count))
            case _:
                return Reply(0.0)


class Logged:
    """A backend that gives the answers of a log, in the order of its lines.

    Unlike `Replay` it knows other people's logs, which hold rendered prompts: of each it checks
    that the passages and the query of the call are in it.

    Args:
        path: JSON Lines with ``prompt`` and ``response``, plain or gzipped.

    Raises:
        InputError: The file cannot be read, or a line has no prompt and response.
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({Generate})

    def __init__(self, path: str | Path) -> None:
        self._path, self._lock = Path(path), threading.Lock()
        self._entries = self._read()

    def run(self, calls: Batch) -> Replies:
        """The next answers.

        Raises:
            ContractError: The log is over, or its next prompt is of other passages.
        """
        with self._lock:
            return [self._next(call) for call in calls]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)

    def _next(self, call: Call[Any]) -> Reply[Completion]:
        if not isinstance(call, Generate):
            raise ContractError(f"a log has no answer to {type(call).__name__}")
        for number, prompt, response in self._entries:
            if not all(part.text in prompt for part in call.prompt.untrusted):
                raise ContractError(
                    f"line {number} of {self._path} is of other passages or queries"
                )
            return Reply(Completion(response))
        raise ContractError(f"{self._path} has no further answer")

    def _read(self) -> Iterator[tuple[int, str, str]]:
        for number, row in rows_of(self._path):
            if not all(isinstance(row.get(key), str) for key in ("prompt", "response")):
                raise InputError(f"line {number} of {self._path} has no prompt and response")
            yield number, row["prompt"], row["response"]


class Babbling:
    """A backend that answers every call with rubbish, and no two in the same way.

    Text that is no answer, log-probabilities that are not numbers or that were not reported,
    infinite scores: what models and servers really send on a bad day.

    Args:
        seed: Which rubbish comes first.
    """

    TEXTS: ClassVar[tuple[str, ...]] = (
        "",
        "20 passages have been provided.",
        "<think>I compare [2] with [1] and then",
        "[0] > [99] > [-1] > [x]",
        '<answer>{"[0]": 5, "[77]": 3, "[1]": 11, "x": "y"}</answer>',
        '<answer>{"[1]": NaN, "[9999]": {"a": []}, 7',
        "<answer>-1</answer> or <answer>4.5</answer>",
        "\u0000\ufffd]]]}}}[[[{{{",
    )

    def __init__(self, seed: int = 0) -> None:
        self._count = itertools.count(seed)

    def run(self, calls: Batch) -> Replies:
        """Rubbish of the right type."""
        return [Reply(self._answer(call, next(self._count))) for call in calls]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)

    def _answer(self, call: Call[Any], i: int) -> Any:
        nothing = (math.nan, math.inf, -math.inf)[i % 3]
        match call:
            case NextToken(labels=labels):
                return LabelLogprobs({} if i % 2 else {labels[0]: math.nan})
            case Likelihood():
                return ContinuationLogprob(nothing, i % 2)
            case Generate():
                reason: Literal["stop", "length"] = "length" if i % 3 else "stop"
                return Completion(self.TEXTS[i % len(self.TEXTS)], reason)
            case ScorePair():
                return nothing
            case Embed():
                return Vectors(((), ((nothing,),) * number_of_vectors(call), ((0.0,),))[i % 3])
            case Attend():
                return PassageAttention((nothing,) * (i % 2))
            case _:
                return ()


def _always() -> CallError:
    return BackendError("this backend always fails")


class Failing:
    """A backend whose calls fail, all of them or those that ``when`` picks.

    Args:
        error: Makes the error for a failed call.
        when: Whether the call fails; every call by default.
        otherwise: What answers the calls that don't fail; an `Oracle` by default.
    """

    def __init__(
        self,
        error: Callable[[], CallError] = _always,
        *,
        when: Callable[[Call[Any]], object] = bool,  # every call is true
        otherwise: "Oracle | Scripted | None" = None,
    ) -> None:
        self._error, self._when = error, when
        self._otherwise = otherwise or Oracle()

    def run(self, calls: Batch) -> Replies:
        """An error for each call that fails, an answer for the others."""
        return [self._error() if self._when(c) else self._otherwise.run([c])[0] for c in calls]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)


class Replay:
    """A backend that answers from a transcript of `rerank_plugins.middleware.recorded`.

    Each recorded reply is given once, to a call equal to the recorded one, so a changed prompt
    is an error and not a wrong answer.

    Args:
        path: The transcript.

    Raises:
        InputError: The file is not a transcript.
    """

    def __init__(self, path: str | Path) -> None:
        self._replies: dict[Call[Any], list[Reply[Any] | CallError]] = {}
        self._lock = threading.Lock()
        for call, reply in read_transcript(path):
            self._replies.setdefault(call, []).append(reply)

    def run(self, calls: Batch) -> Replies:
        """The recorded replies.

        Raises:
            ContractError: A call was not recorded, or was recorded less often than asked.
        """
        with self._lock:
            return [self._recorded(call) for call in calls]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)

    def _recorded(self, call: Call[Any]) -> Reply[Any] | CallError:
        left = self._replies.get(call)
        if not left:
            raise ContractError(f"the transcript has no (further) answer to {call!r:.300}")
        return left.pop(0)
