"""The kind of prompts at whose marks, or at whose end, a model's states are the vectors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .._checks import at_least
from ..calls import Part, Untrusted
from ..errors import ConfigurationError
from ._templates import PassageForm, Rendered, chat, check_fields, fields_of, fill, fill_instruction

_TAG = re.compile(r"</?(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPrompt(PassageForm):
    """A prompt that shows a query and passages, of which a model's states are wanted.

    Either marks follow the passages and the query, and their states are the vectors; or the last
    token's state is the query's, and each passage has a prompt of its own, ``alone``.

    Args:
        user: The text with the fields ``{num}``, ``{query}``, ``{passages}`` and ``{instruction}``.
        passage: One passage, with the fields ``{label}`` and ``{passage}``.
        separator: The text between two passages.
        first_label: The number of the first passage.
        marks: The control tokens after each passage and, last, after the query.
        alone: The text of a passage by itself, with ``{passage}``.
        system: The system message, or nothing.
        instruction: The meaning of relevance, unless the caller gives one.
        instructed: The text that stands for ``{instruction}`` in ``user`` where there is an
            instruction, with that field; where there is none, nothing does.
        chat: Whether the model's chat template is used for ``user``; never for ``alone``.
        max_passage_words: Words kept of each passage; None for no such limit.
        max_passage_tokens: Tokens kept of each passage, counted by the backend.
        max_passage_characters: Characters kept of each passage.
        join_lines: Whether line breaks in a passage become spaces.
        titled: The form of a passage that has a title.
        max_query_tokens: Tokens kept of the query, counted by the backend.
        checkpoints: The models that were trained with it.
    """

    kind: ClassVar[str] = "embedding"
    user: str
    passage: str
    separator: str = "\n"
    first_label: int = 1
    marks: tuple[str, ...] = ()
    alone: str = ""
    system: str = ""
    instruction: str = ""
    instructed: str = "{instruction}"
    chat: bool = True
    max_query_tokens: int | None = None
    checkpoints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needed = {"query", "passages"}
        check_fields("user", self.user, {*needed, "num", "instruction"}, needed)
        check_fields("passage", self.passage, {"label", "passage"}, {"passage"})
        check_fields("instructed", self.instructed, {"instruction"}, {"instruction"})
        if bool(self.marks) == bool(self.alone):
            raise ConfigurationError("an embedding prompt needs either marks or alone")
        if self.alone:
            check_fields("alone", self.alone, {"passage"}, {"passage"})
        at_least(1, none=True, max_query_tokens=self.max_query_tokens)
        self.check()

    @property
    def takes_instruction(self) -> bool:
        """Whether there is a place for an instruction of the caller."""
        return "instruction" in fields_of(self.user)

    def render(
        self,
        query: str,
        passages: Sequence[str],
        *,
        instruction: str | None = None,
        max_words: int | None = None,
    ) -> Rendered:
        """The prompt for some passages, with at most ``max_words`` words of each.

        An ``instruction`` replaces the prompt's own, and is text from outside, as the query and the
        passages are. Tags that the prompt writes, such as ``<passage``, are broken up in all of
        them.

        Raises:
            InputError: There is an instruction, and no place for one.
        """
        given = instruction and self._untagged(instruction)
        told = fill_instruction(
            self.instructed, self.instruction, given, has_place=self.takes_instruction
        )
        cut = [self.cut(passage, max_words) for passage in passages]
        shown = list[Part]()
        for number, (text, _) in enumerate(cut):
            values: Mapping[str, list[Part]] = {
                "label": [str(self.first_label + number)],
                "passage": [self.part(self._untagged(text))],
            }
            shown += [*([self.separator] if number else []), *fill(self.passage, values)]
        values = {
            "num": [str(len(passages))],
            "query": [Untrusted(self._untagged(query), "query", self.max_query_tokens)],
            "passages": shown,
            "instruction": told,
        }
        prompt = chat(self.system, fill(self.user, values), "", templated=self.chat)
        return Rendered(prompt, frozenset(i for i, (_, shorter) in enumerate(cut) if shorter))

    def render_alone(self, passage: str, *, max_words: int | None = None) -> Rendered:
        """The prompt for one passage by itself, with at most ``max_words`` words of it."""
        text, shortened = self.cut(passage, max_words)
        parts = fill(self.alone, {"passage": [self.part(text)]})
        prompt = chat("", parts, "", templated=False)
        return Rendered(prompt, frozenset({0} if shortened else ()))

    def _untagged(self, text: str) -> str:
        own = {found[1] for found in _TAG.finditer(self.user + self.passage + self.instructed)}
        return _TAG.sub(lambda found: _apart(found[0]) if found[1] in own else found[0], text)


def _apart(tag: str) -> str:
    return f"< {tag[1:]}"
