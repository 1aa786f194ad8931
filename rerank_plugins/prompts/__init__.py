"""Prompts as versioned data: one TOML file per checkpoint contract, validated when it is loaded.

A prompt that a public checkpoint was trained with is an interface: changing one character is a
breaking change and gets a new version. Rendering is pure and keeps what comes from outside in
`Untrusted` parts.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar, TypeVar

from ..calls import Message, Part, Prompt, Untrusted
from ..errors import ConfigurationError, InputError, UnknownNameError
from ..text import Alphabet, labels, limit_words, passage_cleaner

P = TypeVar("P", bound="ListwisePrompt | LikelihoodPrompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListwisePrompt:
    """A prompt that shows a window of passages under identifiers and asks for their order.

    Args:
        alphabet: Letters (A to Z, so at most 26 passages) or numbers from 1.
        user: The user's message with the fields ``{num}``, ``{query}``, ``{passages}`` and
            ``{example}``.
        passage: One passage, with the fields ``{label}`` and ``{passage}``.
        system: The system message, or nothing.
        prefill: How the answer begins; ``[`` where the next token is to be an identifier.
        example: What replaces ``{example}``.
        max_passage_words: Words kept of each passage.
        repair_encoding: Whether query and passages go through ``ftfy`` first.
        checkpoints: The models that were trained with it.
    """

    kind: ClassVar[str] = "listwise"
    alphabet: Alphabet
    user: str
    passage: str = "[{label}] {passage}\n"
    system: str = ""
    prefill: str = ""
    example: str = ""
    max_passage_words: int = 300
    repair_encoding: bool = True
    checkpoints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.alphabet not in ("letters", "numbers"):
            raise ConfigurationError(f"alphabet is {self.alphabet!r}, not letters or numbers")
        _check_fields(
            "user", self.user, {"num", "query", "passages", "example"}, {"query", "passages"}
        )
        _check_fields("passage", self.passage, {"label", "passage"}, {"label", "passage"})
        _check_limit(self.max_passage_words)

    def render(
        self, query: str, passages: Sequence[str], max_words: int | None = None
    ) -> tuple[Prompt, frozenset[int]]:
        """The prompt for a window, and the positions of the passages that were shortened.

        Args:
            query: The query.
            passages: The window's passages, best first.
            max_words: Words kept of each passage; the prompt's own limit when None.

        Raises:
            InputError: More passages than the alphabet has identifiers.
        """
        clean = passage_cleaner(self.alphabet, repair=self.repair_encoding)
        cut = [limit_words(p, max_words or self.max_passage_words) for p in passages]
        lines: list[Part] = []
        for label, (text, _) in zip(labels(self.alphabet, len(cut)), cut, strict=True):
            body = Untrusted(clean(text), "passage")
            lines += fill(self.passage, {"label": [label], "passage": [body]})
        values: dict[str, list[Part]] = {
            "num": [str(len(passages))],
            "query": [Untrusted(clean(query), "query")],
            "passages": lines,
            "example": [self.example],
        }
        prompt = chat(self.system, fill(self.user, values), self.prefill)
        return prompt, frozenset(i for i, (_, shortened) in enumerate(cut) if shortened)


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodPrompt:
    """A prompt that shows one passage, after which a query is more or less likely.

    Args:
        user: The message with the field ``{passage}``.
        system: The system message, or nothing.
        prefill: What stands between the message and the query.
        separator: What comes before the query and is scored with its first token; a space
            after a word, nothing after a chat template.
        chat: Whether the model's chat template is used.
        max_passage_words: Words kept of each passage.
    """

    kind: ClassVar[str] = "likelihood"
    user: str
    system: str = ""
    prefill: str = ""
    separator: str = ""
    chat: bool = True
    max_passage_words: int = 300

    def __post_init__(self) -> None:
        _check_fields("user", self.user, {"passage"}, {"passage"})
        _check_limit(self.max_passage_words)

    def render(self, passage: str, max_words: int | None = None) -> tuple[Prompt, bool]:
        """The prompt for one passage, and whether the passage was shortened."""
        text, shortened = limit_words(passage, max_words or self.max_passage_words)
        parts = fill(self.user, {"passage": [Untrusted(text, "passage")]})
        prompt = chat(self.system, parts, self.prefill)
        return Prompt(prompt.messages, prompt.prefill, chat=self.chat), shortened


def load_prompt(name: str) -> ListwisePrompt | LikelihoodPrompt:
    """A prompt by its versioned name, or from a TOML file of your own.

    Args:
        name: A name that `list_prompts` gives, or a path that ends in ``.toml``: a file with
            ``kind = "listwise"`` or ``"likelihood"`` and the fields of that class as keys.

    Raises:
        UnknownNameError: No such prompt.
        ConfigurationError: The file is not a valid prompt.

    Examples:
        >>> load_prompt("first.v1").checkpoints
        ('rryisthebest/First_Model',)
    """
    if name.endswith(".toml"):
        try:
            return _parse(Path(name).read_text(encoding="utf-8"), name)
        except OSError as error:
            raise UnknownNameError(f"cannot read the prompt {name!r}: {error}") from error
    if name not in list_prompts():
        raise UnknownNameError(
            f"there is no prompt {name!r}", hint=f"Known prompts: {', '.join(list_prompts())}."
        )
    return _built_in(name)


def list_prompts() -> tuple[str, ...]:
    """The names of the prompts that ship with the library."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def require(prompt: "str | Path | P", expected: type[P]) -> P:
    """The prompt itself, or the one of that name, of the kind a strategy needs.

    Raises:
        ConfigurationError: It is of another kind.
    """
    found = load_prompt(str(prompt)) if isinstance(prompt, str | Path) else prompt
    if not isinstance(found, expected):
        raise ConfigurationError(f"{prompt!r} is not a {expected.kind} prompt")
    return found


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


@lru_cache
def _built_in(name: str) -> ListwisePrompt | LikelihoodPrompt:
    source = resources.files(__name__).joinpath(f"{name}.toml")
    return _parse(source.read_text(encoding="utf-8"), name)


def _parse(source: str, name: str) -> ListwisePrompt | LikelihoodPrompt:
    try:
        values: dict[str, Any] = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the prompt {name!r} is not valid TOML: {error}") from error
    kinds: dict[str, type[ListwisePrompt] | type[LikelihoodPrompt]] = {
        cls.kind: cls for cls in (ListwisePrompt, LikelihoodPrompt)
    }
    cls = kinds.get(values.pop("kind", ""))
    if cls is None:
        raise ConfigurationError(f"the prompt {name!r} needs kind = one of {sorted(kinds)}")
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ConfigurationError(f"the prompt {name!r} has unknown keys {unknown}")
    if "checkpoints" in values:
        values["checkpoints"] = tuple(values["checkpoints"])
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigurationError(f"the prompt {name!r} is incomplete: {error}") from error
    except InputError as error:
        raise ConfigurationError(f"the prompt {name!r} is wrong: {error}") from error


def _check_fields(where: str, template: str, allowed: set[str], required: set[str]) -> None:
    try:
        found = {f for _, f, _, _ in Formatter().parse(template) if f is not None}
    except ValueError as error:
        raise ConfigurationError(f"{where} is not a template: {error}") from error
    if found - allowed:
        raise ConfigurationError(f"{where} has unknown fields {sorted(found - allowed)}")
    if required - found:
        raise ConfigurationError(f"{where} lacks the fields {sorted(required - found)}")


def _check_limit(max_passage_words: object) -> None:
    if not isinstance(max_passage_words, int) or max_passage_words < 1:
        raise InputError(f"max_passage_words is {max_passage_words!r}, expected at least 1")
