"""Grades from a model's answer, with a count of the repairs.

A grade that cannot be read is unknown. It is never taken for zero, which would be the judgement
that a passage is useless, and never guessed from a number that was cut or is off the scale.
"""

import json
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

from .._content import answer_span, answer_text
from ..text import plain_characters
from ._titles import MARKUP, after_title, boxed

_FENCED = re.compile(r"```(?:json)?\s*(\{.*?)```", re.DOTALL)
_OBJECT = re.compile(r"\{[^{}]*+\}?")  # one that was cut has no closing bracket
_WORD = r"(?:(?:passage|document|doc|text|id)[\s_#-]{0,3})?"
_KEY = re.compile(rf"{_WORD}\[{{0,3}}\s{{0,9}}(\d{{1,9}})\s{{0,9}}\]{{0,3}}\.?", re.IGNORECASE)
# A pair in a damaged object. The character after it shows that the number is whole. Every
# repetition is bounded: no model output may cost minutes of matching.
_PAIR = re.compile(
    rf"[\"']?({_WORD}\[{{0,3}}\s{{0,9}}\w{{1,20}}\s{{0,9}}\]{{0,3}})[\"']?\s{{0,9}}:"
    r"\s{0,9}[\"']?(-?\d{1,9}(?:\.\d{1,9})?)[\"']?(?=\s{0,9}[,}\n])",
    re.IGNORECASE,
)
# Not the beginning of another number, of a range, of a choice or of an order ("7.5", "7-8",
# "7 or 8", "[2] > [1]"), and not a key of an object.
_INTEGER = re.compile(
    r"(\d{1,9})(?![\dA-Za-z%_]|[.,]\d|\s?[\u2010-\u2015~-]\s?\d|,?\s(?:or|to|and)\s\d|,\s\d"
    r"|[\])]{0,3}[\"']\s{0,9}:|[\])]{0,3}\s?[>,]\s?[\[(]{0,3}\d)"
)
_WHOLE = re.compile(r"\A\s*\d{1,9}(?:\.0+)?\s*\Z")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # keeps every place
_LONGEST = 100_000  # characters of an answer that are read


@dataclass(frozen=True, slots=True)
class Grades:
    """Grades by position, and counts of those that could not be used.

    Attributes:
        by_position: The grade of each passage that has one.
        duplicates: Passages that were graded again; the first grade counted.
        out_of_range: Keys that name no passage.
        invalid: Grades that are not whole numbers of the scale.
    """

    by_position: dict[int, int]
    duplicates: int = 0
    out_of_range: int = 0
    invalid: int = 0


def parse_grades(text: str, n: int, top: int = 10, *, reasoning: bool = True) -> Grades:
    """Read the grades of ``n`` passages from a JSON object: ``{"[1]": 5, "[2]": 3}``.

    Of several objects, it is the one that grades most passages, and of those the last. Before a
    number there may be a word: ``{"passage 1": 5}``.

    Args:
        text: The model's answer.
        n: The number of passages in the group.
        top: The highest grade; the lowest is 0.
        reasoning: Whether the prompt demanded reasoning and then ``<answer>...</answer>``.

    Examples:
        >>> parse_grades('<answer>{"[1]": 7, "[0]": 9, "[2]": 11}</answer>', 2)
        Grades(by_position={0: 7}, duplicates=0, out_of_range=1, invalid=1)
    """
    answer = plain_characters(answer_text(text, reasoning=reasoning)[-_LONGEST:])
    fenced = "\n".join(_FENCED.findall(answer))
    return _most(fenced, n, top) or _most(answer, n, top) or Grades({})


def parse_grade(
    text: str, *, reasoning: bool = False, before: str = ""
) -> tuple[int, int, int] | None:
    r"""Read one integer at the start of an answer, after its reasoning if the prompt demanded any.

    Before it there may be markup and a title (``**Grade:** 7``, ``The score is 7``). An answer that
    begins otherwise is read if all that it puts into ``\boxed{}`` is one number.

    Args:
        text: The model's answer.
        reasoning: Whether the prompt demanded reasoning and then ``<answer>...</answer>``.
        before: Text after which the integer stands: the last one counts, in any case. Where it
            does not occur, the integer must be at the start.

    Returns:
        The integer, and the start and stop of its digits in ``text``; None if there is none.

    Examples:
        >>> parse_grade("<think>a 3?</think><answer>10</answer>", reasoning=True)
        (10, 27, 29)
        >>> parse_grade("7.5") is None, parse_grade("7 or 8") is None
        (True, True)
        >>> parse_grade("M: 1, T: 3, ##final score: 2", before="Final score:")
        (2, 27, 28)
    """
    start, stop = answer_span(text, reasoning=reasoning)
    small, mark = text.translate(_LOWER), before.translate(_LOWER)
    if before and (place := small.rfind(mark, start, stop)) >= 0:
        markup = MARKUP.match(text, place + len(before), stop)
        begin = markup.end() if markup else stop
    else:
        begin = after_title(text, start, stop)
    found = _INTEGER.match(text, begin, stop)
    if not found and not before and (last := boxed(text, start, stop)) is not None:
        found = _INTEGER.match(text, last, stop)
    return (int(found[1]), *found.span(1)) if found else None


def _most(source: str, n: int, top: int) -> Grades | None:
    """The grades of the object that grades most passages, and of those the last."""
    read = [_graded(_pairs(found), n, top) for found in _OBJECT.findall(source)]

    def used(grades: Grades) -> tuple[int, int]:
        return len(grades.by_position), grades.invalid + grades.out_of_range

    return max(reversed(read), key=used, default=None)


def _pairs(found: str) -> Iterable[tuple[str, object]]:
    """Keys and values of an object, repeated keys included."""
    try:
        pairs: list[tuple[str, object]] = json.loads(found, object_pairs_hook=list)
    except (ValueError, RecursionError):  # damaged: a lost quote, a doubled bracket
        return _PAIR.findall(found)
    return pairs


def _graded(pairs: Iterable[tuple[str, object]], n: int, top: int) -> Grades:
    found: dict[int, int] = {}
    duplicates = out_of_range = invalid = 0
    mentioned: set[int] = set()
    for key, value in pairs:
        named = _KEY.fullmatch(key.strip())
        position = int(named[1]) - 1 if named else -1
        if not 0 <= position < n:
            out_of_range += 1
        elif position in mentioned:
            duplicates += 1
        elif (grade := _grade(value, top)) is None:
            invalid += 1
            mentioned.add(position)
        else:
            found[position] = grade
            mentioned.add(position)
    return Grades(found, duplicates, out_of_range, invalid)


def _grade(value: object, top: int) -> int | None:
    if isinstance(value, str) and _WHOLE.match(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= top and value == int(value) else None
