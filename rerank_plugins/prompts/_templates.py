"""Filling templates, and cutting passages to the length a checkpoint was trained with."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from ..calls import Identifier, Message, Part, Prompt, Untrusted, text_of
from ..errors import ConfigurationError, InputError
from ..text import Passage, limit_words

_LINE_BREAKS = re.compile(r"\n+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a prompt prepares a passage: its form, and its length in the checkpoint's own unit.

    Args:
        max_passage_words: Words kept of each passage; None where another unit counts.
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
        """Refuse limits that are no positive numbers, and a form of a title without its text."""
        for name in ("max_passage_words", "max_passage_tokens", "max_passage_characters"):
            value: object = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name} is {value!r}, expected at least 1")
        if self.titled:
            check_fields("titled", self.titled, {"title", "passage"}, {"title", "passage"})

    @property
    def most_words(self) -> int:
        """No passage has more words than this, whichever unit counts."""
        known = (self.max_passage_words, self.max_passage_tokens, self.max_passage_characters)
        return min((limit for limit in known if limit is not None), default=1 << 30)

    def cut(self, passage: str, max_words: int | None = None) -> tuple[str, bool]:
        """The passage as the prompt shows it, before escaping, and whether it was shortened.

        A limit in tokens is not applied here: the tokenizer is the backend's.

        Args:
            passage: A text, or a `Passage` with a title.
            max_words: A word limit beside the prompt's own.
        """
        text = self._with_title(passage)
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

    def _with_title(self, passage: str) -> str:
        title = Passage.of(passage).passage_title
        if title and self.titled:
            return text_of(fill(self.titled, {"title": [title], "passage": [str(passage)]}))
        # What the loaders of the listwise checkpoints leave behind where a title is empty.
        return str(passage).removeprefix("Title: Content: ") if self.titled else str(passage)

    def part(self, text: str) -> Untrusted:
        """A prepared passage as a part of a prompt."""
        return Untrusted(text, "passage", self.max_passage_tokens)


def fill(template: str, values: Mapping[str, Sequence[Part]]) -> list[Part]:
    """A template's literal text and the parts that replace its fields.

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


def chat(system: str, user: Sequence[Part], prefill: str) -> Prompt:
    """A system message where there is one, and a user's message."""
    head = (Message("system", (system,)),) if system else ()
    return Prompt((*head, Message("user", tuple(user))), prefill)


def identifiers(names: Sequence[str], *, picked: bool) -> list[Part]:
    """The identifiers of a window as parts: as they are, or for the backend to pick."""
    return [Identifier(i) if picked else name for i, name in enumerate(names)]


def check_fields(where: str, template: str, allowed: set[str], required: set[str]) -> None:
    """Refuse a template with unknown fields, or without one that it needs."""
    try:
        found = {f for _, f, _, _ in Formatter().parse(template) if f is not None}
    except ValueError as error:
        raise ConfigurationError(f"{where} is not a template: {error}") from error
    if found - allowed:
        raise ConfigurationError(f"{where} has unknown fields {sorted(found - allowed)}")
    if required - found:
        raise ConfigurationError(f"{where} lacks the fields {sorted(required - found)}")
