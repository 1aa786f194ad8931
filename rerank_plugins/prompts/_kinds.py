"""The three kinds of prompts: for a window, for one passage, for a query after a passage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from .._checks import at_least
from ..calls import Identifier, Message, Part, Untrusted
from ..errors import ConfigurationError
from ..text import Alphabet, labels, passage_cleaner, repair_encoding
from ._templates import PassageForm, Rendered, chat, check_fields, fields_of, fill, fill_instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class ListwisePrompt(PassageForm):
    """A prompt that shows a window of passages under identifiers and asks about all of them.

    Args:
        alphabet: Letters (A to Z, so at most 26 passages), numbers from 1, or tokens: as many
            identifiers as there are passages, each a single token that the backend picks.
        user: The user's message with the fields ``{num}``, ``{query}``, ``{passages}`` and
            ``{example}``.
        passage: One passage, with the fields ``{label}`` and ``{passage}``.
        system: The system message, or nothing.
        prefill: The beginning of the answer; ``[`` where the next token should be an identifier.
        before_label: The beginning of the identifier's token after ``prefill``: a space after a
            word.
        example: The text that replaces ``{example}``.
        opening: The first user's message, with ``{num}`` and ``{query}``, of a conversation that
            gives each passage a turn of its own; ``user`` is its last message then.
        opening_reply: The assistant's reply to it.
        passage_reply: The assistant's reply to each passage, with ``{label}``.
        reasoning: Whether the answer is reasoning first and then ``<answer>...</answer>``.
        chat: Whether the model's chat template is used.
        max_passage_words: Words kept of each passage; None for no such limit.
        max_passage_tokens: Tokens kept of each passage, counted by the backend.
        max_passage_characters: Characters kept of each passage.
        join_lines: Whether line breaks in a passage become spaces.
        titled: The form of a passage that has a title.
        repair_encoding: Whether query and passages go through ``ftfy`` first.
        checkpoints: The models that were trained with it.
    """

    kind: ClassVar[str] = "listwise"
    alphabet: Alphabet
    user: str
    passage: str = "[{label}] {passage}\n"
    system: str = ""
    prefill: str = ""
    before_label: str = ""
    example: str = ""
    opening: str = ""
    opening_reply: str = ""
    passage_reply: str = ""
    reasoning: bool = False
    chat: bool = True
    repair_encoding: bool = True
    checkpoints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.alphabet not in ("letters", "numbers", "tokens"):
            raise ConfigurationError(
                f"alphabet is {self.alphabet!r}, not letters, numbers or tokens"
            )
        fields = {"num", "query", "example"} | (set() if self.opening else {"passages"})
        check_fields("user", self.user, fields, {"query"} | (fields & {"passages"}))
        check_fields("passage", self.passage, {"label", "passage"}, {"label", "passage"})
        if self.opening and not self.chat:
            raise ConfigurationError("opening makes a conversation, which needs chat = true")
        check_fields("opening", self.opening, {"num", "query"}, set())
        check_fields("passage_reply", self.passage_reply, {"label"}, set())
        self.check()

    def names(self, n: int) -> tuple[str, ...]:
        """The next tokens that name ``n`` passages: identifiers after `before_label`."""
        return tuple(self.before_label + name for name in labels(self.alphabet, n))

    def render(self, query: str, passages: Sequence[str], max_words: int | None = None) -> Rendered:
        """The prompt for a window of passages, with at most ``max_words`` words of each.

        Raises:
            InputError: There are more passages than the alphabet has identifiers.
        """
        word = self.passage.partition("{label}")[0].strip().strip("[")
        n = len(passages)
        clean = passage_cleaner(self.alphabet, repair=self.repair_encoding, word=word, most=n)
        cut = [self.cut(p, max_words) for p in passages]
        names: list[Part] = [
            Identifier(i) if self.alphabet == "tokens" else name
            for i, name in enumerate(labels(self.alphabet, len(cut)))
        ]
        lines = [
            fill(self.passage, {"label": [name], "passage": [self.part(clean(text))]})
            for name, (text, _) in zip(names, cut, strict=True)
        ]
        values: dict[str, list[Part]] = {
            "num": [str(n)],
            "query": [Untrusted(clean(query), "query")],
            "passages": [part for line in lines for part in line],
            "example": [self.example],
        }
        user = fill(self.user, values)
        prompt = chat(self.system, user, self.prefill, templated=self.chat)
        if self.opening:
            *head, last = prompt.messages
            turns = self._turns(values, names, lines)
            prompt = replace(prompt, messages=(*head, *turns, last))
        return Rendered(prompt, frozenset(i for i, (_, shortened) in enumerate(cut) if shortened))

    def _turns(
        self,
        values: dict[str, list[Part]],
        names: Sequence[Part],
        lines: Sequence[Sequence[Part]],
    ) -> list[Message]:
        """The conversation before the last message: the question and each passage, with replies."""
        turns = [
            Message("user", tuple(fill(self.opening, values))),
            Message("assistant", (self.opening_reply,)),
        ]
        for name, line in zip(names, lines, strict=True):
            reply = fill(self.passage_reply, {"label": [name]})
            turns += [Message("user", tuple(line)), Message("assistant", tuple(reply))]
        return turns


@dataclass(frozen=True, slots=True, kw_only=True)
class PointwisePrompt(PassageForm):
    """A prompt that shows one passage and asks how relevant it is.

    Args:
        user: The user's message with the fields ``{query}``, ``{passage}`` and ``{instruction}``.
        labels: The two words that may come next, the one for "relevant" first: their log-odds are
            the score. Or one word, whose raw logit is.
        top_grade: Instead of ``labels``: the model writes an integer from 0 to this.
        before_grade: Text after which the grade stands, in any case, where other text may come
            first; without it the answer begins with the grade.
        instruction: The meaning of relevance, unless the caller gives one.
        instructed: The text that stands for ``{instruction}`` in ``user`` where there is an
            instruction, with that field; where there is none, nothing does.
        system: The system message, or nothing.
        prefill: The beginning of the answer.
        reasoning: Whether the answer is reasoning first and then ``<answer>...</answer>``; with
            labels, reasoning that ``</think>`` ends, and then a label.
        chat: Whether the model's chat template is used.
        max_passage_words: Words kept of the passage; None for no such limit.
        max_passage_tokens: Tokens kept of the passage, counted by the backend.
        max_passage_characters: Characters kept of the passage.
        join_lines: Whether line breaks in a passage become spaces.
        titled: The form of a passage that has a title.
        max_query_tokens: Tokens kept of the query, counted by the backend.
        repair_encoding: Whether query and passage go through ``ftfy`` first.
        checkpoints: The models that were trained with it.
    """

    kind: ClassVar[str] = "pointwise"
    user: str
    labels: tuple[str, ...] = ()
    top_grade: int | None = None
    before_grade: str = ""
    instruction: str = ""
    instructed: str = "{instruction}"
    system: str = ""
    prefill: str = ""
    reasoning: bool = False
    chat: bool = True
    max_query_tokens: int | None = None
    repair_encoding: bool = False
    checkpoints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        allowed = {"query", "passage", "instruction"}
        check_fields("user", self.user, allowed, {"query", "passage"})
        check_fields("instructed", self.instructed, {"instruction"}, {"instruction"})
        if (len(self.labels) in (1, 2)) == (self.top_grade is not None) or len(self.labels) > 2:
            raise ConfigurationError("a pointwise prompt needs one or two labels, or a top_grade")
        if self.top_grade is not None and self.top_grade < 1:
            raise ConfigurationError(f"top_grade is {self.top_grade}, expected at least 1")
        if self.before_grade and self.top_grade is None:
            raise ConfigurationError("before_grade needs a top_grade")
        at_least(1, none=True, max_query_tokens=self.max_query_tokens)
        self.check()

    @property
    def takes_instruction(self) -> bool:
        """Whether there is a place for an instruction of the caller."""
        return "instruction" in fields_of(self.user)

    def render(
        self,
        query: str,
        passage: str,
        *,
        instruction: str | None = None,
        max_words: int | None = None,
    ) -> Rendered:
        """The prompt for one passage, with at most ``max_words`` words of it.

        An ``instruction`` replaces the prompt's own, and is text from outside, as the query is.

        Raises:
            InputError: There is an instruction, and no place for one.
        """
        told = fill_instruction(
            self.instructed, self.instruction, instruction, has_place=self.takes_instruction
        )
        text, shortened = self.cut(passage, max_words)
        if self.repair_encoding:
            text, query = repair_encoding(text), repair_encoding(query)
        values: dict[str, list[Part]] = {
            "query": [Untrusted(query, "query", self.max_query_tokens)],
            "passage": [self.part(text)],
            "instruction": told,
        }
        user = fill(self.user, values)
        prompt = chat(self.system, user, self.prefill, templated=self.chat)
        return Rendered(prompt, frozenset({0} if shortened else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodPrompt(PassageForm):
    """A prompt that shows one passage, after which a query is more or less likely.

    Args:
        user: The message with the field ``{passage}``.
        system: The system message, or nothing.
        prefill: The text between the message and the query.
        separator: The text before the query that is scored with its first token: a space after a
            word, nothing after a chat template.
        chat: Whether the model's chat template is used.
        max_passage_words: Words kept of the passage; None for no such limit.
        max_passage_tokens: Tokens kept of the passage, counted by the backend.
        max_passage_characters: Characters kept of the passage.
        join_lines: Whether line breaks in a passage become spaces.
        titled: The form of a passage that has a title.
    """

    kind: ClassVar[str] = "likelihood"
    user: str
    system: str = ""
    prefill: str = ""
    separator: str = ""
    chat: bool = True

    def __post_init__(self) -> None:
        check_fields("user", self.user, {"passage"}, {"passage"})
        self.check()

    def render(self, passage: str, max_words: int | None = None) -> Rendered:
        """The prompt for one passage, with at most ``max_words`` words of it."""
        text, shortened = self.cut(passage, max_words)
        user = fill(self.user, {"passage": [self.part(text)]})
        prompt = chat(self.system, user, self.prefill, templated=self.chat)
        return Rendered(prompt, frozenset({0} if shortened else ()))
