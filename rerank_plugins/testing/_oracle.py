"""A backend that knows how relevant every passage is."""

import hashlib
import json
import math
import operator
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from ..backends._base import Answers, by_kind
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
    NextToken,
    PassageAttention,
    Prompt,
    Replies,
    Reply,
    ScorePair,
    Search,
    Vectors,
)

Key = Callable[[str, str], float]
SURE = 0.9
"""The probability an oracle gives to the grade it means."""
_SIGNS = 256
"""Dimensions of the vector of a text."""


class Oracle:
    """A backend that knows how relevant every passage is, and answers every kind consistently.

    Letters or numbers, text or log-probabilities, orders or grades: whatever is asked, the passage
    with the higher ``key`` wins, and equal ones keep their order.

    Args:
        key: Relevance of a passage to a query; by default a hash of the two texts, from 0 to 1.
        seed: Of the default key and of the noise.
        passages: What `Search` finds, in descending order of ``key`` for the query "".
        grade: The integer grade for a key, where a prompt asks for one; by default ten times the
            key, rounded, from 0 to 10.
        noise: The standard deviation of an error that is added to the key of each passage, drawn
            for every call: a model that errs by chance, and not always the same way.
        remember: Whether ``asked`` grows. Turn it off to rank a great many queries.

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
        {NextToken, Generate, Likelihood, ScorePair, Embed, Attend, Search}
    )

    def __init__(
        self,
        key: Key | None = None,
        *,
        seed: int = 0,
        passages: Sequence[str] = (),
        grade: Callable[[float], int] | None = None,
        noise: float = 0.0,
        remember: bool = True,
    ) -> None:
        self._key = key or partial(_hashed, seed)
        self._passages = tuple(passages)
        self._grade = grade or _tenths
        self._noise, self._seed = noise, seed
        self._remember = remember
        self.asked: list[Call[Any]] = []

    def run(self, calls: Batch) -> Replies:
        """Answer every call."""
        if self._remember:
            self.asked += calls
        table: dict[type[Call[Any]], Callable[[Any], Answers]] = {
            NextToken: lambda batch: [self._next_token(c) for c in batch],
            Generate: lambda batch: [self._generate(c) for c in batch],
            Likelihood: lambda batch: [self._likelihood(c) for c in batch],
            ScorePair: lambda batch: [self._score_pair(c) for c in batch],
            Embed: lambda batch: [self._embed(c) for c in batch],
            Attend: lambda batch: [self._attend(c) for c in batch],
            Search: lambda batch: [self._search(c) for c in batch],
        }
        return by_kind(calls, table)

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        return self.run(calls)

    def _scores(self, prompt: Prompt) -> list[float]:
        query = next((p.text for p in prompt.untrusted if p.kind == "query"), "")
        passages = [p.text for p in prompt.untrusted if p.kind == "passage"]
        return [self._seen(query, passage, prompt.text) for passage in passages]

    def _seen(self, query: str, passage: str, context: str) -> float:
        """The key as this call sees it."""
        score = self._key(query, passage)
        if not self._noise:
            return score
        source = random.Random(f"{self._seed}\0{context}\0{passage}")  # noqa: S311 - a double
        return score + source.gauss(0.0, self._noise)

    def _next_token(self, call: NextToken) -> Reply[LabelLogprobs]:
        scores = self._scores(call.prompt)
        if len(scores) == 1 and all(label.isdecimal() for label in call.labels):
            seen = self._digits(call, scores[0])
        elif len(scores) == 1:
            yes = _positive(scores[0]) / (1.0 + _positive(scores[0]))
            seen = dict(zip(call.labels, (math.log(yes), math.log1p(-yes)), strict=False))
        else:
            seen = {
                label: -1.0 / (1.0 + _positive(scores[_index(label)]))
                for label in call.labels
                if _index(label) < len(scores)
            }
        return Reply(LabelLogprobs(seen, normaliser=0.0), _words(call.prompt))

    def _digits(self, call: NextToken, score: float) -> dict[str, float]:
        """The next digit of the grade: its first one, or the one after a 1."""
        grade = str(min(self._grade(score), 9 if "0~9" in call.prompt.text else 19))
        later = call.prompt.text.endswith("1") and "relevance score" in call.prompt.text
        wanted = (grade[1:] or None) if later else grade[0]
        rest = math.log((1.0 - SURE) / max(len(call.labels) - 1, 1))
        return {label: math.log(SURE) if label == wanted else rest for label in call.labels}

    def _generate(self, call: Generate) -> Reply[Completion]:
        scores = self._scores(call.prompt)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        asked = call.prompt.text
        names = [Identifier(i).text if _letters(asked) else str(i + 1) for i in range(len(scores))]
        if '{"[1]"' in asked:
            text = json.dumps({f"[{i + 1}]": self._grade(s) for i, s in enumerate(scores)})
        elif "relevance score" in asked:
            text = str(min(self._grade(scores[0]), 9 if "0~9" in asked else 19))
        elif "most relevant" in asked:
            text = f"[{names[order[0]]}]"
        else:
            text = " > ".join(f"[{names[i]}]" for i in order)
        if "<answer>" in asked:
            text = f"<think>It is known.</think> <answer>{text}</answer>"
        written = " ".join(text.split(" ")[: call.max_tokens])
        tokens = ((written, 0.0),) if call.logprobs else ()
        completion = Completion(written, "stop" if written == text else "length", tokens)
        return Reply(completion, _words(call.prompt), len(written.split()))

    def _likelihood(self, call: Likelihood) -> Reply[ContinuationLogprob]:
        passage = " ".join(p.text for p in call.prompt.untrusted if p.kind == "passage")
        score = self._seen(call.continuation.text.strip(), passage, call.prompt.text)
        tokens = max(1, len(call.continuation.text.split()))
        logprob = -tokens / (1.0 + _positive(score))
        return Reply(ContinuationLogprob(logprob, tokens), _words(call.prompt) + tokens)

    def _score_pair(self, call: ScorePair) -> Reply[float]:
        words = len(call.query.split()) + len(call.passage.split())
        return Reply(float(self._seen(call.query, call.passage, "")), words)

    def _embed(self, call: Embed) -> Reply[Vectors]:
        """Vectors whose cosines rise with the key, among them that of the query.

        At marks, each passage has its angle to the query, which comes last. Without marks, a
        passage alone has a vector of its text, whatever is asked; a query with passages has one
        whose products with theirs are their scores.
        """
        scores = self._scores(call.prompt)
        if call.marks:
            shares = [_positive(s) / (1.0 + _positive(s)) for s in scores]
            rows = [*((share, 1.0 - share) for share in shares), (1.0, 0.0)]
            return Reply(Vectors(tuple(rows)), _words(call.prompt))
        shown = [p for p in call.prompt.untrusted if p.kind == "passage"]
        known = {p.text: _positive(s) for p, s in zip(shown, scores, strict=True)}
        vectors = [_signs(text) for text in known]
        if len(shown) == len(call.prompt.untrusted) == 1:
            return Reply(Vectors((tuple(vectors[0]),)), _words(call.prompt))
        weights = _solved(vectors, list(known.values()))
        pairs = list(zip(weights, vectors, strict=True))
        row = tuple(math.fsum(w * v[i] for w, v in pairs) for i in range(_SIGNS))
        return Reply(Vectors((row if pairs else (1.0,) * _SIGNS,)), _words(call.prompt))

    def _attend(self, call: Attend) -> Reply[PassageAttention]:
        scores = tuple(map(float, self._scores(call.prompt)))
        heads = ((scores,),) if call.each_head else ()
        return Reply(PassageAttention(scores, heads), _words(call.prompt))

    def _search(self, call: Search) -> Reply[tuple[Hit, ...]]:
        best = sorted(self._passages, key=lambda p: -self._key("", p))[: call.k]
        return Reply(tuple(Hit(str(self._passages.index(p)), p) for p in best))


def _hashed(seed: int, query: str, passage: str) -> float:
    text = f"{seed}\0{query}\0{passage}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") / 2**32


def number_of_vectors(call: Embed) -> int:
    """The number of vectors that the answer to a call has."""
    written = "".join(p for m in call.prompt.messages for p in m.parts if isinstance(p, str))
    return sum(written.count(mark) for mark in call.marks) if call.marks else 1


def _signs(text: str) -> list[float]:
    """The vector of a text: 1 or -1 in each of its dimensions."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return [1.0 if byte >> bit & 1 else -1.0 for byte in digest for bit in range(8)]


def _solved(vectors: Sequence[Sequence[float]], scores: Sequence[float]) -> list[float]:
    """The weights with which the sum of vectors has these products with them."""
    rows = [
        [*(math.fsum(map(operator.mul, a, b)) for b in vectors), score]
        for a, score in zip(vectors, scores, strict=True)
    ]
    for i, row in enumerate(rows):  # Gauss and Jordan: products of a vector with itself are large
        row[:] = [value / row[i] for value in row]
        for other in rows[:i] + rows[i + 1 :]:
            other[:] = [x - other[i] * y for x, y in zip(other, row, strict=True)]
    return [row[-1] for row in rows]


def _tenths(score: float) -> int:
    return round(10 * min(max(score, 0.0), 1.0))


def _positive(score: float) -> float:
    """Any number as one above 0, keeping the order: log-probabilities must be negative."""
    return score + 1.0 if score >= 0 else 1.0 / (1.0 - score)


def _letters(text: str) -> bool:
    return "[A]" in text or "Passage A" in text


def _index(label: str) -> int:
    """The position that a label names, from 0: 1 or A is the first, 27 or AA the 27th."""
    name = label.strip()
    if name.isdecimal():
        return int(name) - 1
    place = 0
    for letter in name:
        place = place * 26 + ord(letter) - ord("A") + 1
    return place - 1


def _words(prompt: Prompt) -> int:
    return len(prompt.text.split())
