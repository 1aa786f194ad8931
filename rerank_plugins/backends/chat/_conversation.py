"""One call to a chat model, from the questions asked to the meaning of the answer.

A conversation is a generator: it yields questions and is sent the model's answers. It does no
I/O, so synchronous and asynchronous backends share it.
"""

import re
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from ..._content import answer_text
from ...calls import Completion, Generate, NextToken, Reply, with_cost
from ...errors import CallError, LogprobsError, UnsupportedCallError
from .._answers.failures import failure, refused
from .._answers.logprobs import Position, read_labels
from .._answers.numbers import to_count
from .._prompts.messages import Messages, to_messages
from ._dialects import Dialect

T = TypeVar("T")

_WITH_IDENTIFIER = re.compile(r"\[\w+\]")  # in a prefill: the call asks for a later identifier
_USAGE = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))


@dataclass(frozen=True, slots=True)
class Said:
    """A model's answer.

    Args:
        text: The answer.
        positions: Its tokens with their alternatives, if they are reported.
        cut: True if the limit of tokens ended it.
        prompt_tokens: Tokens the model read.
        generated_tokens: Tokens it wrote.
        continued: True if the prefill was part of the prompt, so that the answer continues it.
    """

    text: str
    positions: tuple[Position, ...] = ()
    cut: bool = False
    prompt_tokens: int = 0
    generated_tokens: int = 0
    continued: bool = False

    @property
    def thinking(self) -> bool:
        """Whether the limit of tokens ended the reasoning before the answer started."""
        return self.cut and not answer_text(self.text).strip()


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a model: messages, and arguments in its dialect."""

    messages: Messages
    arguments: Mapping[str, Any]


class Known:
    """The state of knowledge about a model: its dialect, from which refused arguments are removed.

    Threads share one. The dialect is replaced as a whole: if two threads find out something at the
    same time, one of the two may have to find it out again.

    Attributes:
        dialect: The arguments that the model's API takes.
        secrets: Returns the texts that errors must not repeat.
        proven: True if the model has answered at least once.
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
        LabelError: The prompt has more identifiers than there are letters.
        UnsupportedCallError: The call continues an answer of which the model wrote nothing.
    """
    messages = to_messages(call.prompt)
    if _WITH_IDENTIFIER.search(messages.prefill):
        raise UnsupportedCallError(
            "a chat model starts a new answer, and this call continues an answer after its first "
            "identifier",
            hint="Use a strategy that asks for the first identifier, or for text.",
        )
    if isinstance(call, NextToken):
        return (yield from _first_label(call, messages, known))
    return (yield from _written(call, messages, known))


def _first_label(call: NextToken, messages: Messages, known: Known) -> Conversation[Answer]:
    unavailable = LogprobsError(
        "the model reports no log-probabilities",
        hint="Allow generation with SingleToken(policy='generate'), or use Permutation.",
    )
    if known.dialect.logprobs is None:
        return unavailable
    said = yield from _said(messages, known, lambda dialect: dialect.first_tokens(messages.prefill))
    if isinstance(said, CallError):
        return said
    if said.thinking or not said.positions:
        if said.thinking or said.text.strip():
            known.dialect = replace(known.dialect, logprobs=None)
        return with_cost(unavailable, said.prompt_tokens, said.generated_tokens)
    before = "" if said.continued else messages.prefill
    try:
        return _reply(read_labels(said.positions, call.labels, before), said, messages)
    except CallError as error:
        return with_cost(error, said.prompt_tokens, said.generated_tokens)


def _written(call: Generate, messages: Messages, known: Known) -> Conversation[Answer]:
    said = yield from _said(messages, known, lambda dialect: dialect.generate(call))
    if isinstance(said, Said) and said.thinking and not known.dialect.thinks:
        known.dialect = replace(known.dialect, thinks=True)
        again = yield from _said(messages, known, lambda dialect: dialect.generate(call))
        said = with_cost(again, said.prompt_tokens, said.generated_tokens)
    if isinstance(said, CallError):
        return said
    text = said.text if said.continued else said.text.lstrip().removeprefix(messages.prefill)
    answer = Completion(text, finish_reason="length" if said.cut else "stop")
    return _reply(answer, said, messages)


def _said(
    messages: Messages, known: Known, spell: Callable[[Dialect], Mapping[str, Any]]
) -> Conversation[Said | CallError]:
    """Get one answer; arguments that are refused by name are left out of the next attempt.

    The simpler dialect is kept only when the answer arrives: that proves the reason.
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


def tokens_used(usage: object) -> tuple[int, int]:
    """Tokens read and written, from a client's report of its usage; zeros if it has none.

    Examples:
        >>> tokens_used({"input_tokens": 7, "output_tokens": 2}), tokens_used(None)
        ((7, 2), (0, 0))
    """

    def number(names: Collection[str]) -> int:
        for name in names:
            held = usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
            if (count := to_count(held)) is not None:
                return count
        return 0

    read, written = map(number, _USAGE)
    return read, written
