"""One call to a chat model, from the question to what its answer means.

A conversation is a generator: questions are yielded, what the model said is sent back. It does no
I/O and has no colour, so that what is learnt about a model is written once.
"""

import re
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from ...calls import Completion, Generate, NextToken, Reply
from ...errors import CallError, LogprobsError, UnsupportedCallError
from .._answers.failures import failure, refused
from .._answers.logprobs import Position, read_labels
from .._prompts.messages import Messages, to_messages
from ._dialects import Dialect

T = TypeVar("T")

_BEGUN = re.compile(r"\[\w+\]")  # a prefill with an identifier, after which others are wanted
_NO_LOGPROBS = (
    "the model reports no log-probabilities",
    "Allow generation with SingleToken(policy='generate'), or use Permutation.",
)
_USAGE = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))


@dataclass(frozen=True, slots=True)
class Said:
    """What a model answered.

    Args:
        text: The answer.
        positions: Its tokens with their alternatives, where they are reported.
        cut: Whether the limit of tokens ended it.
        prompt_tokens: Tokens the model read.
        generated_tokens: Tokens it wrote.
        continued: Whether the prefill was part of the prompt, so that the answer goes on from it.
    """

    text: str
    positions: tuple[Position, ...] = ()
    cut: bool = False
    prompt_tokens: int = 0
    generated_tokens: int = 0
    continued: bool = False

    @property
    def thinking(self) -> bool:
        """Whether the limit of tokens ended it before the answer began."""
        text = self.text.strip()
        unanswered = not text or (text.startswith("<think") and "</think" not in text)
        return self.cut and unanswered


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model is to be asked: messages, and arguments in its dialect."""

    messages: Messages
    arguments: Mapping[str, Any]


class Known:
    """What is known about a model: its dialect, which only ever loses what is not understood.

    Threads share one. A frozen value is replaced as a whole, so that two that learn something at
    once lose nothing but another question.

    Attributes:
        dialect: What it understands.
        secrets: Gives the texts that errors must not repeat.
        proven: Whether it has answered at all.
    """

    def __init__(self, dialect: Dialect, secrets: Callable[[], Collection[str]] = tuple) -> None:
        self.dialect = dialect
        self.secrets = secrets
        self.proven = False


Question: TypeAlias = NextToken | Generate
Answer: TypeAlias = Reply[Any] | CallError
Conversation: TypeAlias = Generator[Asked, Said | Exception, T]


def converse(call: Question, known: Known) -> Conversation[Answer]:
    """Answer one call by questions to a chat model. No I/O: questions are yielded.

    Raises:
        LabelError: More identifiers than letters are needed.
        UnsupportedCallError: The call continues an answer that the model has not begun.
    """
    messages = to_messages(call.prompt)
    if _BEGUN.search(messages.prefill):
        raise UnsupportedCallError(
            "a chat model begins its answer anew, and this call continues one",
            hint="Use a strategy that asks for the first identifier, or for text.",
        )
    if isinstance(call, NextToken):
        return (yield from _first_label(call, messages, known))
    return (yield from _written(call, messages, known))


def _first_label(call: NextToken, messages: Messages, known: Known) -> Conversation[Answer]:
    if known.dialect.logprobs is None:
        return _no_logprobs()
    said = yield from _said(messages, known, lambda spoken: spoken.first_tokens(messages.prefill))
    if isinstance(said, CallError):
        return said
    thinks = said.thinking
    if thinks or not said.positions:
        if thinks or said.text.strip():
            known.dialect = replace(known.dialect, logprobs=None)
        return _no_logprobs()
    before = "" if said.continued else messages.prefill
    try:
        return _reply(read_labels(said.positions, call.labels, before), said, messages)
    except CallError as error:
        return error


def _written(call: Generate, messages: Messages, known: Known) -> Conversation[Answer]:
    said = yield from _said(messages, known, lambda spoken: spoken.generate(call))
    if isinstance(said, Said) and said.thinking and not known.dialect.thinks:
        known.dialect = replace(known.dialect, thinks=True)
        again = yield from _said(messages, known, lambda spoken: spoken.generate(call))
        said = again if isinstance(again, CallError) else _together(said, again)
    if isinstance(said, CallError):
        return said
    text = said.text if said.continued else said.text.lstrip().removeprefix(messages.prefill)
    answer = Completion(text, finish_reason="length" if said.cut else "stop")
    return _reply(answer, said, messages)


def _said(
    messages: Messages, known: Known, spell: Callable[[Dialect], Mapping[str, Any]]
) -> Conversation[Said | CallError]:
    """One answer; the question is put in fewer words each time that some are refused by name.

    What was left out is remembered when the answer comes: only then was that the reason.
    """
    dialect = known.dialect
    while True:
        arguments = spell(dialect)
        said = yield Asked(messages, arguments)
        if isinstance(said, Said):
            known.proven = True
            if dialect != known.dialect:
                known.dialect = dialect
            return said
        simpler = dialect.without(refused(said, arguments.keys()), str(said))
        if simpler == dialect:
            return failure(said, known.secrets())
        dialect = simpler


def _reply(answer: Any, said: Said, messages: Messages) -> Reply[Any]:
    return Reply(answer, said.prompt_tokens, said.generated_tokens, messages.truncated)


def _together(first: Said, second: Said) -> Said:
    """The second answer at the cost of both."""
    return replace(
        second,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        generated_tokens=first.generated_tokens + second.generated_tokens,
    )


def _no_logprobs() -> LogprobsError:
    message, hint = _NO_LOGPROBS
    return LogprobsError(message, hint=hint)


def tokens_used(usage: object) -> tuple[int, int]:
    """Tokens read and written, from what a client calls usage; zeros where it does not say.

    Examples:
        >>> tokens_used({"input_tokens": 7, "output_tokens": 2}), tokens_used(None)
        ((7, 2), (0, 0))
    """

    def number(names: Collection[str]) -> int:
        for name in names:
            held = usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
            if type(held) is int and held >= 0:
                return held
        return 0

    read, written = map(number, _USAGE)
    return read, written
