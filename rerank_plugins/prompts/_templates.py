"""Templates and their fields, and passages in the form that a checkpoint was trained with."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import NamedTuple

from .._checks import at_least, nearest_of, some_of
from ..calls import Message, Part, Prompt, Untrusted, text_of
from ..errors import ConfigurationError, InputError
from ..text import Passage, limit_words

_LINE_BREAKS = re.compile(r"\n+")


class Rendered(NamedTuple):
    """A prompt, and the positions of the passages that were shortened for it."""

    prompt: Prompt
    cut: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageForm:
    """The form of a passage in a prompt, and its length in the checkpoint's own unit.

    Args:
        max_passage_words: Words kept of each passage; None for no such limit.
        max_passage_tokens: Tokens kept of each passage, counted by the backend.
        max_passage_characters: Characters kept of each passage.
        join_lines: Whether line breaks in a passage become spaces.
        titled: A passage that has a title, with the fields ``{title}`` and ``{passage}``;
            without it, titles are left out.
    """

    max_passage_words: int | None = None
    max_passage_tokens: int | None = None
    max_passage_characters: int | None = None
    join_lines: bool = False
    titled: str = ""

    def check(self) -> None:
        """Refuse limits that are not positive, and a ``titled`` without its fields."""
        at_least(
            1,
            none=True,
            max_passage_words=self.max_passage_words,
            max_passage_tokens=self.max_passage_tokens,
            max_passage_characters=self.max_passage_characters,
        )
        if self.titled:
            check_fields("titled", self.titled, {"title", "passage"}, {"title", "passage"})

    @property
    def most_words(self) -> int:
        """A number of words that no passage exceeds, whichever unit limits it."""
        known = (self.max_passage_words, self.max_passage_tokens, self.max_passage_characters)
        return min((limit for limit in known if limit is not None), default=1 << 30)

    def cut(self, passage: str, max_words: int | None = None) -> tuple[str, bool]:
        """The passage as the prompt shows it, before escaping, and whether it was shortened.

        A limit in tokens is not applied here, because the backend has the tokenizer.

        Args:
            passage: A text, or a `Passage` with a title.
            max_words: A word limit in addition to the prompt's own.
        """
        text = str(passage)
        if self.titled:
            title = Passage.of(passage).passage_title
            if title:
                text = text_of(fill(self.titled, {"title": [title], "passage": [text]}))
            else:  # remove what the loaders of the listwise checkpoints write for an empty title
                text = text.removeprefix("Title: Content: ")
        if self.join_lines:
            text = _LINE_BREAKS.sub(" ", text)
        cut = self.max_passage_characters is not None and len(text) > self.max_passage_characters
        text = text[: self.max_passage_characters]
        words = min((n for n in (max_words, self.max_passage_words) if n), default=None)
        if words is None:
            return text, cut
        shortened, fewer = limit_words(text, words)
        keeps_lines = self.max_passage_words is None and not fewer
        return (text if keeps_lines else shortened), cut or fewer

    def part(self, text: str) -> Untrusted:
        """A prepared passage as a part of a prompt."""
        return Untrusted(text, "passage", self.max_passage_tokens)


def fill(template: str, values: Mapping[str, Sequence[Part]]) -> list[Part]:
    """Put parts in the place of a template's fields.

    Values are never read as templates: braces in a passage stay braces.

    Examples:
        >>> fill("q: {query}.", {"query": ["a {b}"]})
        ['q: ', 'a {b}', '.']
    """
    parts: list[Part] = []
    for literal, field, _, _ in Formatter().parse(template):
        if literal:
            parts.append(literal)
        if field is not None:
            parts += values[field]
    return parts


def fill_instruction(template: str, own: str, given: str | None, *, has_place: bool) -> list[Part]:
    """Fill the form of an instruction; nothing where there is none.

    Args:
        template: The form, with the field ``{instruction}``.
        own: The prompt's own words, which the program wrote.
        given: The caller's, which is text from outside and replaces them.
        has_place: Whether the prompt has a place for the caller's.

    Raises:
        InputError: There is one, and no place for it.
    """
    if given and not has_place:
        raise InputError("the prompt has no place for an instruction", hint="Leave it out.")
    words: Part = Untrusted(given, "instruction") if given else own if given is None else ""
    return fill(template, {"instruction": [words]}) if words else []


def fields_of(template: str) -> set[str]:
    """The names of a template's fields.

    Examples:
        >>> sorted(fields_of("{query} {{x}} {passage}"))
        ['passage', 'query']
    """
    return {field for _, field, _, _ in Formatter().parse(template) if field is not None}


def chat(system: str, user: Sequence[Part], prefill: str, *, templated: bool = True) -> Prompt:
    """A prompt with a user's message, after a system message if there is one.

    ``prefill`` is the beginning of the answer; the model's chat template is used if ``templated``.
    """
    head = (Message("system", (system,)),) if system else ()
    return Prompt((*head, Message("user", tuple(user))), prefill, chat=templated)


def check_fields(where: str, template: str, allowed: set[str], required: set[str]) -> None:
    """Refuse a template with unknown fields, or without one that it needs."""
    try:
        found = fields_of(template)
    except ValueError as error:
        raise ConfigurationError(f"{where} is not a template: {error}") from error
    if unknown := sorted(found - allowed):
        raise ConfigurationError(
            f"{where} has unknown fields {some_of(unknown)}",
            hint=nearest_of(unknown[0], allowed, "It may have"),
        )
    if required - found:
        raise ConfigurationError(f"{where} lacks the fields {sorted(required - found)}")
