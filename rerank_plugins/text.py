"""Pure functions on text: identifiers, word limits, damaged encodings."""

import re
import string
from collections.abc import Callable
from typing import Literal

from .errors import InputError

Alphabet = Literal["letters", "numbers"]

LONGEST_WORD = 100
"""A run of this many characters without white space counts as a word: text in Chinese or
Japanese, base64 and other unbroken text must obey a word limit too."""

_IDENTIFIER = {"letters": re.compile(r"\[([A-Za-z]+)\]"), "numbers": re.compile(r"\[(\d+)\]")}
_RUN = re.compile(r"\S+")
_WORD = re.compile(rf"\S{{1,{LONGEST_WORD}}}")


def labels(alphabet: Alphabet, n: int) -> tuple[str, ...]:
    """The first ``n`` identifiers: A, B, C, ... or 1, 2, 3, ...

    Raises:
        InputError: More than 26 letters were asked for.

    Examples:
        >>> labels("letters", 3), labels("numbers", 3)
        (('A', 'B', 'C'), ('1', '2', '3'))
    """
    if alphabet == "numbers":
        return tuple(str(i) for i in range(1, n + 1))
    if n > len(string.ascii_uppercase):
        raise InputError(
            f"{n} passages cannot be labelled with 26 letters",
            hint="Rank longer lists with SlidingWindow(inner=..., size=20).",
        )
    return tuple(string.ascii_uppercase[:n])


def escape_identifiers(text: str, alphabet: Alphabet) -> str:
    """Make fake identifiers harmless: ``[12]`` becomes ``(12)``.

    Examples:
        >>> escape_identifiers("see [12] and [B]", "numbers")
        'see (12) and [B]'
    """
    return _IDENTIFIER[alphabet].sub(r"(\1)", text)


def limit_words(text: str, limit: int) -> tuple[str, bool]:
    """The first ``limit`` words joined by single spaces, and whether that cut something.

    Examples:
        >>> limit_words("one  two three", 2)
        ('one two', True)
        >>> limit_words("one  two", 2)
        ('one two', False)
    """
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
    import ftfy  # imported here: 40 ms that `import rerank_plugins` need not pay

    return ftfy.fix_text(text)


def passage_cleaner(alphabet: Alphabet, *, repair: bool) -> Callable[[str], str]:
    """What a listwise prompt does to a query or a shortened passage, in the published order."""

    def clean(text: str) -> str:
        fixed = repair_encoding(text) if repair else text
        return escape_identifiers(fixed, alphabet)

    return clean
