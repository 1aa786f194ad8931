"""Backends without a model: an oracle, a script, a failure, a recording."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..backends.base import Answers, by_kind
from ..calls import (
    Batch,
    Call,
    Completion,
    ContinuationLogprob,
    Generate,
    Hit,
    LabelLogprobs,
    Likelihood,
    NextToken,
    Prompt,
    Replies,
    Reply,
    ScorePair,
    Search,
)
from ..errors import BackendError, CallError, ContractError
from ..middleware import read_transcript

Key = Callable[[str, str], float]


class Oracle:
    """A backend that knows how relevant every passage is, and answers every kind consistently.

    Letters or numbers, text or log-probabilities: whatever is asked, the passage with the higher
    ``key`` wins, and equal ones keep their order.

    Args:
        key: Relevance of a passage to a query; by default a hash of the two texts.
        seed: Of the default key.
        passages: What `Search` finds, in descending order of ``key`` for the query "".

    Attributes:
        asked: Every call, in order.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import Permutation
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> Reranker(Permutation(), by_length).rank("q", ["a", "aaa", "aa"]).order
        (1, 2, 0)
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset(
        {NextToken, Generate, Likelihood, ScorePair, Search}
    )

    def __init__(
        self, key: Key | None = None, *, seed: int = 0, passages: Sequence[str] = ()
    ) -> None:
        self._key = key or _hashed(seed)
        self._passages = tuple(passages)
        self.asked: list[Call[Any]] = []

    def run(self, calls: Batch) -> Replies:
        """Answer every call."""
        self.asked += calls
        table: dict[type[Call[Any]], Callable[[Any], Answers]] = {
            NextToken: lambda batch: [self._next_token(c) for c in batch],
            Generate: lambda batch: [self._generate(c) for c in batch],
            Likelihood: lambda batch: [self._likelihood(c) for c in batch],
            ScorePair: lambda batch: [Reply(self._key(c.query, c.passage), 1) for c in batch],
            Search: lambda batch: [self._search(c) for c in batch],
        }
        return by_kind(calls, table)

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)

    def _scores(self, prompt: Prompt) -> list[float]:
        query = next((p.text for p in prompt.untrusted if p.kind == "query"), "")
        return [self._key(query, p.text) for p in prompt.untrusted if p.kind == "passage"]

    def _next_token(self, call: NextToken) -> Reply[LabelLogprobs]:
        scores = self._scores(call.prompt)
        seen = dict(zip(call.labels, (-1.0 / (1.0 + _positive(s)) for s in scores), strict=False))
        return Reply(LabelLogprobs(seen), prompt_tokens=_words(call.prompt))

    def _generate(self, call: Generate) -> Reply[Completion]:
        scores = self._scores(call.prompt)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        letters = "[A]" in call.prompt.text
        names = [chr(ord("A") + i) if letters else str(i + 1) for i in order]
        text = " > ".join(f"[{name}]" for name in names)
        return Reply(Completion(text), _words(call.prompt), len(names))

    def _likelihood(self, call: Likelihood) -> Reply[ContinuationLogprob]:
        passage = " ".join(p.text for p in call.prompt.untrusted if p.kind == "passage")
        score = self._key(call.continuation.text.strip(), passage)
        tokens = max(1, len(call.continuation.text.split()))
        logprob = -tokens / (1.0 + _positive(score))
        return Reply(ContinuationLogprob(logprob, tokens), _words(call.prompt) + tokens)

    def _search(self, call: Search) -> Reply[tuple[Hit, ...]]:
        best = sorted(self._passages, key=lambda p: -self._key("", p))[: call.k]
        return Reply(tuple(Hit(str(self._passages.index(p)), p) for p in best))


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


class Failing:
    """A backend whose calls fail, all of them or those that ``when`` picks.

    Args:
        error: Makes the error for a failed call.
        when: Whether the call fails; every call by default.
        otherwise: What answers the calls that don't fail; an `Oracle` by default.
    """

    def __init__(
        self,
        error: Callable[[], CallError] = lambda: BackendError("this backend always fails"),
        *,
        when: Callable[[Call[Any]], bool] = lambda _: True,
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


def _hashed(seed: int) -> Key:
    def key(query: str, passage: str) -> float:
        text = f"{seed}\0{query}\0{passage}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") / 2**32

    return key


def _positive(score: float) -> float:
    """Any number as one above 0, keeping the order: log-probabilities must be negative."""
    return score + 1.0 if score >= 0 else 1.0 / (1.0 - score)


def _words(prompt: Prompt) -> int:
    return len(prompt.text.split())
