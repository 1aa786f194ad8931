"""The narrow waist: what a strategy may ask, and what comes back.

Strategies and backends meet here and nowhere else. Everything is frozen and hashable, so a call
is its own cache key and two calls can be compared in a test. The set of kinds is closed: a new
one is an event in the public API.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from .errors import CallError

A_co = TypeVar("A_co", covariant=True)
T = TypeVar("T")

Role = Literal["system", "user", "assistant"]
PairKind = Literal["logit", "similarity"]

_HEAD = re.compile(r"\s{0,3}\[([A-Za-z0-9]{1,9})\]")
_LINK = re.compile(r"\s{0,3}>\s{0,3}\[([A-Za-z0-9]{1,9})\]")
_STARTED = re.compile(r"\s{0,3}(?:>\s{0,3})?(?:\[[A-Za-z0-9]{0,9})?\Z")


@dataclass(frozen=True, slots=True)
class Untrusted:
    """Text from outside the program: a query, a passage, or the instruction of a caller.

    The backend makes sure that nothing in it becomes a control token of the model.

    Args:
        text: The text as it is to appear in the prompt.
        kind: What it is.
        max_tokens: Where not None, the backend keeps this many of its tokens and says so in
            `Reply.truncated`.
    """

    text: str
    kind: Literal["query", "passage", "instruction"] = "passage"
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Identifier:
    """The identifier of one passage, where any single token will do.

    The backend owns the tokenizer, so it picks the spelling: ``n`` identifiers that are single,
    distinct tokens of its vocabulary. Labels go by `text`, whatever the spelling is.

    Args:
        index: Which identifier, from 0.

    Examples:
        >>> Identifier(0).text, Identifier(25).text, Identifier(26).text
        ('A', 'Z', 'AA')
    """

    index: int

    @property
    def text(self) -> str:
        """Its name: A to Z, then AA, AB, ... as the columns of a spreadsheet."""
        letters, left = "", self.index + 1
        while left:
            left, place = divmod(left - 1, 26)
            letters = chr(ord("A") + place) + letters
        return letters


Part: TypeAlias = str | Untrusted | Identifier
"""A piece of a message: text the program wrote (``str``), text from outside, an identifier."""


def text_of(parts: Sequence[Part]) -> str:
    """The parts joined."""
    return "".join(p if isinstance(p, str) else p.text for p in parts)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, in parts."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The parts joined, before any template."""
        return text_of(self.parts)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt before any chat template. Templates and tokens are the backend's business.

    Args:
        messages: The conversation so far.
        prefill: How the assistant's answer begins, as text or in parts.
        chat: False for plain text completion: the messages' parts are joined and no template
            is used.
    """

    messages: tuple[Message, ...]
    prefill: str | tuple[str | Identifier, ...] = ""
    chat: bool = True

    @property
    def text(self) -> str:
        """The messages' texts, one after the other: for reading and for tests."""
        return "\n".join(m.text for m in self.messages) + text_of(self.prefill)

    @property
    def identifiers(self) -> int:
        """The number of identifiers that the backend has to pick."""
        parts = (*(p for m in self.messages for p in m.parts), *self.prefill)
        return max((p.index + 1 for p in parts if isinstance(p, Identifier)), default=0)

    @property
    def untrusted(self) -> tuple[Untrusted, ...]:
        """The parts from outside, in order."""
        return tuple(p for m in self.messages for p in m.parts if isinstance(p, Untrusted))


class Call(Generic[A_co]):
    """A question whose answer has type ``A_co``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LabelLogprobs:
    """Log-probabilities (nats, over the whole vocabulary) of the labels that were reported.

    A label missing from ``seen`` is known only to be at most ``floor``: servers cap how many
    alternatives they report. A backend that sees every label gives ``floor=-inf``.

    ``normaliser`` is the logarithm of the sum of ``exp(logit)`` over the vocabulary, where the
    backend knows it: a label's raw logit is its log-probability plus this. Servers do not tell it.
    """

    seen: Mapping[str, float]
    floor: float = float("-inf")
    normaliser: float | None = None


@dataclass(frozen=True, slots=True)
class NextToken(Call[LabelLogprobs]):
    """Asks which of ``labels`` comes next: one forward pass, no text is generated."""

    prompt: Prompt
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """A text that a model wrote.

    Args:
        text: The answer, without the prefill.
        finish_reason: ``"length"`` when ``max_tokens`` cut it.
        tokens: Each generated token with its log-probability (nats), where asked for.
    """

    text: str
    finish_reason: Literal["stop", "length"] = "stop"
    tokens: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenOrder:
    """An order that an answer begins with, ``[3] > [1] > [2]``: complete with ``count`` names.

    Args:
        names: The names that count. Others, and repeated ones, may stand between them.
        count: How many different ones make it complete.
    """

    names: tuple[str, ...]
    count: int

    def progress(self, answer: str) -> tuple[int | None, int]:
        """The number of names that ``answer`` still lacks, and where its last name ends.

        Returns:
            0 where the order is complete, and None where the answer is something else: prose,
            reasoning, or an order that was broken off. What follows a complete order is not read.

        Examples:
            >>> order = WrittenOrder(("1", "2", "3"), 3)
            >>> order.progress("[2] > [2] > [1] > ["), order.progress("[2] > [1] > [3] > [4]")
            ((1, 15), (0, 15))
            >>> order.progress("<think>[2] > [1] > [3]")
            (None, 0)
        """
        found, stop = set[str](), 0
        while len(found) < self.count:
            link = (_LINK if stop else _HEAD).match(answer, stop)
            if link is None:
                goes_on = _STARTED.match(answer, stop)
                return (self.count - len(found) if goes_on else None), stop
            found |= {link[1]} & set(self.names)
            stop = link.end()
        return 0, stop


@dataclass(frozen=True, slots=True)
class Generate(Call[Completion]):
    """Asks for a text of up to ``max_tokens`` tokens. ``temperature=0`` is greedy decoding.

    ``top_p`` and ``top_k`` narrow what is sampled from; 1.0 and 0 leave it alone. A backend that
    reads along may end the answer once ``until`` is complete; others write on, and the reader of
    the answer stops there.
    """

    prompt: Prompt
    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    seed: int | None = None
    top_p: float = 1.0
    top_k: int = 0
    until: WrittenOrder | None = None


@dataclass(frozen=True, slots=True)
class ContinuationLogprob:
    """``logprob``: log-probability (nats) of the whole continuation; ``tokens``: its length."""

    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Likelihood(Call[ContinuationLogprob]):
    """Asks how likely ``continuation`` is after ``prompt``. Nothing is generated."""

    prompt: Prompt
    continuation: Untrusted


@dataclass(frozen=True, slots=True)
class ScorePair(Call[float]):
    """Asks how relevant ``passage`` is to ``query``: higher is better.

    The answer is a raw logit or a similarity; `Reply.score_kind` says which.
    """

    query: str
    passage: str


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors that a model gave to a text.

    Args:
        rows: The vectors, all of one length: of the prompt's marks in their order, or one.
    """

    rows: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Embed(Call[Vectors]):
    """Asks for the states of the last layer at a prompt's marks: one forward pass, no text.

    A model that was trained with a projector gives projected states. Nothing is normalised.

    Args:
        prompt: The prompt. Its marks are in the text that the program wrote: the backend makes sure
            that a query or a passage cannot write one.
        marks: Control tokens of the model, such as ``"<|embed_token|>"``: each of their occurrences
            has a vector. Without marks the prompt's last token has the only one.
    """

    prompt: Prompt
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PassageAttention:
    """The attention that a question pays to each passage of its prompt.

    Each value is a sum over the tokens of the passage and its label (of shares of all attention, so
    between -1 and 1 for one head): a token's is the mean over all tokens after the passages, which
    are the question and the end of the prompt, less the same with a query without content. Tokens
    that are more than two standard deviations below their passage's mean are left out.

    Args:
        passages: For every passage, summed over the heads that were asked for.
        heads: The same of each head alone, by layer, head and passage, where asked for.
    """

    passages: tuple[float, ...]
    heads: tuple[tuple[tuple[float, ...], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Attend(Call[PassageAttention]):
    """Asks how much the query of ``prompt`` attends to each of its passages.

    The query stands after the passages. Nothing is generated.

    Args:
        prompt: Its untrusted parts are the passages and the query.
        calibration: The query without content whose attention is subtracted.
        heads: Layer and head, from 0, of those that count; all when empty.
        each_head: Whether every head's own values are wanted too.
    """

    prompt: Prompt
    calibration: str = "N/A"
    heads: tuple[tuple[int, int], ...] = ()
    each_head: bool = False

    @property
    def calibrated(self) -> Prompt:
        """The prompt with the query without content."""

        def changed(part: Part) -> Part:
            query = isinstance(part, Untrusted) and part.kind == "query"
            return Untrusted(self.calibration, "query") if query else part

        return replace(
            self.prompt,
            messages=tuple(
                Message(message.role, tuple(map(changed, message.parts)))
                for message in self.prompt.messages
            ),
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found by a search.

    Args:
        id: What the index knows it by.
        text: What a reranker reads.
        vector: What the index compares the query with, shape ``(dim,)``; empty where the index
            does not give it away.
        score: The index's own, and of any kind: compare ranks, not scores.
    """

    id: str
    text: str
    vector: Sequence[float] = field(default=(), compare=False, repr=False)
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Search(Call[tuple[Hit, ...]]):
    """Asks for the ``k`` passages nearest to a query: of an index, not of a model.

    Args:
        vector: The query's vector; empty for an index that searches by words.
        k: How many.
        text: The query's text, for an index that searches by words; empty for others.
    """

    vector: tuple[float, ...]
    k: int
    text: str = ""


ANSWERS: Mapping[type[Call[Any]], type] = {
    NextToken: LabelLogprobs,
    Generate: Completion,
    Likelihood: ContinuationLogprob,
    ScorePair: Real,
    Embed: Vectors,
    Attend: PassageAttention,
    Search: tuple,
}
"""The type of the answer to each kind of call."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[A_co]):
    """The answer to one call and what it cost.

    Args:
        answer: The answer.
        prompt_tokens: Tokens the model read for it; 0 when it came from a cache.
        generated_tokens: Tokens the model wrote for it.
        truncated: Which of the prompt's untrusted parts were cut to their ``max_tokens``
            (positions in `Prompt.untrusted`).
        score_kind: The kind of the answer to a `ScorePair`: a raw ``"logit"``, or a
            ``"similarity"`` of vectors.
    """

    answer: A_co
    prompt_tokens: int = 0
    generated_tokens: int = 0
    truncated: tuple[int, ...] = ()
    score_kind: PairKind = field(default="logit", repr=False)


class _Costly(Protocol):
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def generated_tokens(self) -> int: ...


R = TypeVar("R", bound=_Costly)


def with_cost(reply: R, prompt_tokens: int, generated_tokens: int) -> R:
    """Return a reply or an error that costs more: tokens of answers that could not be used.

    Examples:
        >>> with_cost(Reply(0.5, 100), 100, 7)
        Reply(answer=0.5, prompt_tokens=200, generated_tokens=7, truncated=())
    """
    twin = copy(reply)
    object.__setattr__(twin, "prompt_tokens", reply.prompt_tokens + prompt_tokens)
    object.__setattr__(twin, "generated_tokens", reply.generated_tokens + generated_tokens)
    return twin


Batch: TypeAlias = Sequence[Call[Any]]
Replies: TypeAlias = Sequence[Reply[Any] | CallError]
Plan: TypeAlias = Generator[Batch, Replies, T]
"""A computation that yields batches of calls, is sent their replies, and returns a ``T``."""
