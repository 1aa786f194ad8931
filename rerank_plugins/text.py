"""Pure functions on text: identifiers, word limits, damaged encodings."""

import math
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from .calls import Identifier
from .errors import InputError

Alphabet = Literal["letters", "numbers", "tokens"]
"""Identifiers of passages: A to Z, numbers from 1, or single tokens that the backend picks."""

Direction = Literal["similarity", "distance", "unknown", "incomplete", "none"]
"""What a list of scores is, best item first: see `direction_of`."""

LONGEST_WORD = 100
"""A run of this many characters without white space counts as a word: text in Chinese or
Japanese, base64 and other unbroken text must obey a word limit too."""

_ORDINARY = 20_000
"""Texts of so many characters are split as a whole, which is faster than word by word."""

_OPEN, _CLOSE = "[\uff3b\ufe47\u3010\ufe3b", "]\uff3d\ufe48\u3011\ufe3c"
"""Brackets that `plain_characters` makes ASCII ones."""

_BRACKETED = re.compile(rf"[\{_OPEN}]([^\{_OPEN}\{_CLOSE}]*)[\{_CLOSE}]")
_NAME = {
    name: re.compile(r"\d+" if name == "numbers" else "[A-Za-z]+")
    for name in ("letters", "numbers", "tokens")
}
_LISTED = re.compile(r"\A\s*\w+(?:\s*[,;>]\s*\w+)*\s*\Z")
_ITEM = re.compile(r"\w+")
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
        score: The first stage's score, higher is better; None when there is none. `Reranker` takes
            scores that rise along the whole list for distances, and says so in `Report.distances`.
        similarity: Instead of ``score``: one that is higher for a better passage however the list
            is ordered, and is never taken for a distance.
        distance: Instead of ``score``: the first stage's distance, lower is better. The score is
            then its negative.

    Attributes:
        score: The score, higher is better.
        directed: Whether it was given as ``similarity`` or ``distance``. In a list with such
            passages no score is taken for something else than it says.

    Raises:
        InputError: More than one of score, similarity and distance is given, or one that is not a
            number, or a title that is not a string.

    Examples:
        >>> flea = Passage("They live for months.", title="Flea", score=12.5)
        >>> flea == "They live for months.", flea.passage_title
        (True, 'Flea')
        >>> Passage("They live for months.", distance=0.25).score
        -0.25
        >>> Passage("They live for months.", similarity=0.75).score
        0.75
    """

    passage_title: str = ""  # str has a method named title
    score: float | None = None
    directed: bool = False

    def __new__(
        cls,
        text: str,
        *,
        title: str = "",
        score: float | None = None,
        similarity: float | None = None,
        distance: float | None = None,
    ) -> "Passage":
        made = super().__new__(cls, text)
        if similarity is not None or distance is not None:
            named = {"score": score, "similarity": similarity, "distance": distance}
            given = [f"the {name} {value}" for name, value in named.items() if value is not None]
            if len(given) > 1:
                raise InputError(
                    f"a passage has {' and '.join(given)}",
                    hint="Give the one that its retriever ranked by.",
                )
            score = similarity if distance is None else -_number("distance", distance)
            made.directed = True
        if title:
            if not isinstance(title, str):
                raise InputError(f"title is {title!r:.80}, expected a string")
            made.passage_title = title
        if score is not None:
            made.score = _number("score" if similarity is None else "similarity", score)
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
        name = "similarity" if self.directed else "score"
        return Passage(text, title=self.passage_title, **{name: self.score})

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        name = "similarity" if self.directed else "score"
        return (str(self),), {"title": self.passage_title, name: self.score}


def _number(name: str, value: object) -> float:
    """A number of any library as a float; NaN stands for an unknown one."""
    try:
        if not isinstance(value, str | bytes):
            return float(value)  # type: ignore[arg-type]  # anything else is refused below
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{name} is {value!r:.80}, expected a number")


def direction_of(scores: Sequence[float | None]) -> Direction:
    """Tell by the scores of a list, best item first, whether they are distances.

    Returns:
        ``"similarity"``: they fall along the list. ``"distance"``: they rise. ``"unknown"``: they
        do both or neither. ``"incomplete"``: some items have no finite score. ``"none"``: no item
        has one.

    Examples:
        >>> direction_of([0.0, 0.4, 2.0]), direction_of([0.9, 0.9, 0.1]), direction_of([0.5, 0.5])
        ('distance', 'similarity', 'unknown')
    """
    known = [score for score in scores if score is not None and math.isfinite(score)]
    if not known:
        return "none"
    if len(known) < len(scores):
        return "incomplete"
    falls = any(a > b for a, b in pairwise(known))
    rises = any(a < b for a, b in pairwise(known))
    if falls == rises:
        return "unknown"
    return "similarity" if falls else "distance"


def in_known_order(passages: Sequence[Passage]) -> bool:
    """Whether a list is known to be in a first stage's order, best first.

    All passages have a score, and the scores only fall along the list, or only rise where no
    passage states what its score is.

    Examples:
        >>> in_known_order([Passage("a", score=2.0), Passage("b", score=1.0)])
        True
        >>> in_known_order([Passage("a"), Passage("b")])
        False
    """
    direction = direction_of([passage.score for passage in passages])
    stated = any(passage.directed for passage in passages)  # then rising scores are no distances
    return direction == "similarity" or (direction == "distance" and not stated)


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


def plain_characters(text: str) -> str:
    """Each character as its ASCII form, where it has one, and lenticular brackets as square ones.

    Each by itself (NFKC): on whole texts, ``unicodedata.normalize`` may take quadratic time.

    Examples:
        >>> plain_characters("\u3010\uff12\u3011")
        '[2]'
    """
    return text if text.isascii() else text.translate(_PLAIN)


class _Plain(dict[int, str]):
    def __missing__(self, code: int) -> str:
        found = unicodedata.normalize("NFKC", chr(code))
        return found.replace("\u3010", "[").replace("\u3011", "]")


_PLAIN = _Plain()


def escape_identifiers(
    text: str, alphabet: Alphabet, word: str = "", most: int | None = None
) -> str:
    """Escape identifiers in a text from outside: ``[12]`` becomes ``(12)``.

    Other forms that the parsers of answers read are escaped too: white space in the brackets,
    full-width characters and chains. A list with commas (``[3, 4]``) is a citation, and stays.

    Args:
        text: From outside.
        alphabet: Which identifiers the prompt uses.
        word: The word before an identifier where that, and not a bracket, marks it.
        most: The number of passages in the prompt. Other forms than ``[12]`` are left where they
            can name none of them.

    Examples:
        >>> escape_identifiers("see [12], [ 3 ] and [B]", "numbers")
        'see (12), ( 3 ) and [B]'
        >>> escape_identifiers("Passage B: mine", "letters", "Passage")
        'Passage (B): mine'
    """
    name = _NAME[alphabet]

    def escaped(found: re.Match[str]) -> str:
        usual = found[0][0] == "[" and found[0][-1] == "]"
        if usual and name.fullmatch(found[1]):
            return f"({found[1]})"
        inside = plain_characters(found[1])
        citation = usual and "," in inside and not set(";>") & set(inside)
        items = _ITEM.findall(inside) if _LISTED.match(inside) and not citation else []
        named = any(name.fullmatch(item) and _may_name(item, alphabet, most) for item in items)
        return f"({found[1]})" if named else found[0]

    if any(bracket in text for bracket in _OPEN):  # a tenth of the cost of the pattern
        text = _BRACKETED.sub(escaped, text)
    if word and word in text:
        wide = name.pattern.replace("A-Za-z", "A-Za-z\uff21-\uff3a\uff41-\uff5a")
        text = re.sub(rf"({re.escape(word)})\s+({wide})\s*([:\uff1a])", r"\1 (\2)\3", text)
    return text


def _may_name(item: str, alphabet: Alphabet, most: int | None) -> bool:
    if alphabet == "tokens":
        return True
    if alphabet == "letters":
        place = ord(item.upper()) - ord("A") + 1 if len(item) == 1 else 0
    else:
        place = int(item[:9])
    return place >= 1 and (most is None or place <= most)


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


def chunks_of(text: str, words: int, overlap: int = 0) -> list[str]:
    """Cut a text into chunks of at most ``words`` words, as `limit_words` counts them.

    Args:
        text: The text; one that is not longer is its only chunk, as it is.
        words: Words in a chunk.
        overlap: Words that two neighbours share, below ``words``.

    Examples:
        >>> chunks_of("one two  three four five", 3, 1)
        ['one two  three', 'three four five']
    """
    spans = [found.span() for found in _WORD.finditer(text)]
    if len(spans) <= words:
        return [text]
    starts = range(0, len(spans) - overlap, words - overlap)
    return [text[spans[i][0] : spans[min(i + words, len(spans)) - 1][1]] for i in starts]


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


def passage_cleaner(
    alphabet: Alphabet, *, repair: bool, word: str = "", most: int | None = None
) -> Callable[[str], str]:
    """The cleaning of queries and shortened passages for listwise prompts, as published.

    The other arguments are those of `escape_identifiers`.
    """

    def clean(text: str) -> str:
        fixed = repair_encoding(text) if repair else text
        return escape_identifiers(fixed, alphabet, word, most)

    return clean
