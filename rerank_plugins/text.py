"""Pure functions on text: identifiers, word limits, damaged encodings."""

import re
import string
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal

from .calls import Identifier
from .errors import InputError

Alphabet = Literal["letters", "numbers", "tokens"]
"""Identifiers of passages: A to Z, numbers from 1, or single tokens that the backend picks."""

LONGEST_WORD = 100
"""A run of this many characters without white space counts as a word: text in Chinese or
Japanese, base64 and other unbroken text must obey a word limit too."""

_ORDINARY = 20_000
"""Texts of so many characters are split as a whole, which is faster than word by word."""

_NAME = {"letters": "[A-Za-z]+", "numbers": r"\d+", "tokens": "[A-Za-z]+"}
_RUN = re.compile(r"\S+")
_WORD = re.compile(rf"\S{{1,{LONGEST_WORD}}}")
_SOUND = re.compile(r"[\n\t -%'-~]*")
"""Printable ASCII but for the ampersand, which may begin an HTML entity."""


class Passage(str):
    """A passage's text, together with what a retriever knows about it.

    It is a string everywhere a string is expected. A prompt that has a form for titles uses the
    title; `Hybrid` combines the reranker's scores with the first stage's. Strategies are given
    passages of this type by `Reranker`; methods of ``str`` return plain strings, so a changed text
    keeps its title and score through `with_text`.

    Args:
        text: The text.
        title: The document's title.
        score: The first stage's score, higher is better; None when there is none.

    Examples:
        >>> flea = Passage("They live for months.", title="Flea", score=12.5)
        >>> flea == "They live for months.", flea.passage_title
        (True, 'Flea')
    """

    passage_title: str = ""  # str has a method named title
    score: float | None = None

    def __new__(cls, text: str, *, title: str = "", score: float | None = None) -> "Passage":
        made = super().__new__(cls, text)
        if title:
            made.passage_title = title
        if score is not None:
            made.score = score
        return made

    @classmethod
    def of(cls, text: str) -> "Passage":
        """The passage itself, or a plain string as one.

        Examples:
            >>> Passage.of("a plain string").score is None
            True
        """
        return text if isinstance(text, Passage) else str.__new__(cls, text)

    @classmethod
    def all_of(cls, texts: Iterable[str]) -> "tuple[Passage, ...]":
        """`of` for every text, in one pass."""
        new = str.__new__
        return tuple([t if isinstance(t, cls) else new(cls, t) for t in texts])

    def with_text(self, text: str) -> "Passage":
        """Another text with the same title and score.

        Examples:
            >>> Passage(" a flea ", score=2.0).with_text("a flea").score
            2.0
        """
        return Passage(text, title=self.passage_title, score=self.score)

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        return (str(self),), {"title": self.passage_title, "score": self.score}


@lru_cache(maxsize=256)
def labels(alphabet: Alphabet, n: int) -> tuple[str, ...]:
    """The first ``n`` identifiers: A, B, C, ... or 1, 2, 3, ...; of ``tokens``, their names.

    Raises:
        InputError: More than 26 letters were asked for.

    Examples:
        >>> labels("letters", 3), labels("numbers", 3)
        (('A', 'B', 'C'), ('1', '2', '3'))
    """
    if alphabet == "numbers":
        return tuple(str(i) for i in range(1, n + 1))
    if alphabet == "tokens":
        return tuple(Identifier(i).text for i in range(n))
    if n > len(string.ascii_uppercase):
        raise InputError(
            f"{n} passages cannot be labelled with 26 letters",
            hint="Rank longer lists with SlidingWindow(inner=..., size=20).",
        )
    return tuple(string.ascii_uppercase[:n])


def escape_identifiers(text: str, alphabet: Alphabet, word: str = "") -> str:
    """Escape identifiers in a text from outside: ``[12]`` becomes ``(12)``.

    Args:
        text: From outside.
        alphabet: Which identifiers the prompt uses.
        word: The word before an identifier where that, and not a bracket, marks it.

    Examples:
        >>> escape_identifiers("see [12] and [B]", "numbers")
        'see (12) and [B]'
        >>> escape_identifiers("Passage B: mine", "letters", "Passage")
        'Passage (B): mine'
    """
    name = _NAME[alphabet]
    if "[" in text:  # a search for one character costs a tenth of the pattern's
        text = re.sub(rf"\[({name})\]", r"(\1)", text)
    if word and word in text:
        text = re.sub(rf"({re.escape(word)})\s+({name})\s*:", r"\1 (\2):", text)
    return text


def limit_words(text: str, limit: int) -> tuple[str, bool]:
    """The first ``limit`` words joined by single spaces, and whether that cut something.

    Examples:
        >>> limit_words("one  two three", 2)
        ('one two', True)
        >>> limit_words("one  two", 2)
        ('one two', False)
    """
    if len(text) <= _ORDINARY:
        found = text.split()
        if max(map(len, found[:limit]), default=0) <= LONGEST_WORD:
            return " ".join(found[:limit]), len(found) > limit
    words: list[str] = []
    used = 0
    for word in map(re.Match.group, _RUN.finditer(text)):  # lazily: the text may be endless
        pieces = -(-len(word) // LONGEST_WORD)
        if used + pieces > limit:
            words.append(word[: (limit - used) * LONGEST_WORD])
            return " ".join(w for w in words if w), True
        words.append(word)
        used += pieces
    return " ".join(words), False


def count_words(text: str) -> int:
    """The number of words as `limit_words` counts them."""
    return len(_WORD.findall(text))


def repair_encoding(text: str) -> str:
    """Undo mojibake, control characters and lone surrogates (``ftfy``).

    The public listwise checkpoints were trained and evaluated on text prepared this way.

    Examples:
        >>> repair_encoding("itâ€™s")
        "it's"
    """
    if _SOUND.fullmatch(text):
        return text  # where nothing can be damaged, ftfy takes a hundred times as long to say so
    import ftfy  # imported here: 40 ms that `import rerank_plugins` need not pay

    return ftfy.fix_text(text)


def passage_cleaner(alphabet: Alphabet, *, repair: bool, word: str = "") -> Callable[[str], str]:
    """The cleaning of queries and shortened passages for listwise prompts, as published."""

    def clean(text: str) -> str:
        fixed = repair_encoding(text) if repair else text
        return escape_identifiers(fixed, alphabet, word)

    return clean
