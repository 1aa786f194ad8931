"""Grades from a model's answer, with a count of the repairs.

A grade that cannot be read is unknown. It is never taken for zero, which would be the judgement
that a passage is useless, and never guessed from a number that was cut or is off the scale.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ._orders import answer_text

_FENCED = re.compile(r"```(?:json)?\s*(\{.*?)```", re.DOTALL)
_OBJECT = re.compile(r"\{[^{}]*\}")
_KEY = re.compile(r"\[{0,3}(\d{1,9})\]{0,3}\.?")
# A pair in a damaged object. The character after it shows that the number is whole. Every
# repetition is bounded: no model output may cost minutes of matching.
_PAIR = re.compile(
    r"\"?(\[{0,3}\w{1,20}\]{0,3})\"?\s{0,9}:\s{0,9}\"?(-?\d{1,9}(?:\.\d{1,9})?)\"?(?=\s{0,9}[,}\n])"
)
_INTEGER = re.compile(r"[\s\[*\"']*(\d{1,9})(?![\d%]|[.,]\d)")
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

    Args:
        text: The model's answer.
        n: The number of passages in the group.
        top: The highest grade; the lowest is 0.
        reasoning: Whether the prompt demanded reasoning and then ``<answer>...</answer>``.

    Examples:
        >>> parse_grades('<answer>{"[1]": 7, "[0]": 9, "[2]": 11}</answer>', 2)
        Grades(by_position={0: 7}, duplicates=0, out_of_range=1, invalid=1)
    """
    found: dict[int, int] = {}
    duplicates = out_of_range = invalid = 0
    mentioned: set[int] = set()
    for key, value in _pairs(answer_text(text, reasoning=reasoning)[-_LONGEST:]):
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


def parse_grade(text: str, *, reasoning: bool = False) -> tuple[int, int, int] | None:
    """Read one integer at the start of an answer, after its reasoning if the prompt demanded any.

    Returns:
        The integer, and the start and stop of its digits in ``text``; None if there is none.

    Examples:
        >>> parse_grade("<think>a 3?</think><answer>10</answer>", reasoning=True)
        (10, 27, 29)
        >>> parse_grade("7.5") is None
        True
    """
    answer = answer_text(text, reasoning=reasoning)
    found = _INTEGER.match(answer)
    if found is None:
        return None
    _, opened, after = text.rpartition("<answer>")
    start = len(text) - len(after if opened else answer) + found.start(1)
    return int(found[1]), start, start + len(found[1])


def _pairs(answer: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of the last object, repeated keys included."""
    fenced = _FENCED.findall(answer)
    source = fenced[-1] if fenced else answer
    whole = _OBJECT.findall(source)
    if whole:
        try:
            pairs: Sequence[tuple[str, Any]] = json.loads(whole[-1], object_pairs_hook=list)
        except (ValueError, RecursionError):  # damaged: a lost quote, a doubled bracket
            pass
        else:
            yield from pairs
            return
    start = source.rfind("{", 0, source.rfind(":") + 1)
    yield from _PAIR.findall(source[start:] if start >= 0 else "")


def _grade(value: object, top: int) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}(?:\.0+)?\s*", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= top and value == int(value) else None
