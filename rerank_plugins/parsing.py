"""From what a model wrote to an order, with a count of the repairs.

Written against what real 7B and 13B rerankers answered: a lost first bracket (``12] > [13]``),
list numbers beside identifiers (``1. [14] > 2. [19]``), prose with digits (``20 passages have
been provided.``), empty brackets, repetitions and reasoning. Digits in prose are never mined for
identifiers; an answer without identifiers is malformed and leaves the order as it was.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .text import Alphabet

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"

_ITEM = re.compile(r"[A-Za-z0-9]+")
# What may stand between brackets: "3", or "3, 1, 2".
_LIST = re.compile(r"[A-Za-z0-9]+(?:\s*[,;>]\s*[A-Za-z0-9]+)*")
# A whole answer that is nothing but identifiers: "3 > 1 > 2", "B, A, C", one a line.
_BARE_LIST = re.compile(r"[A-Za-z0-9]+(?:\s*(?:[>,;]|\n)\s*[A-Za-z0-9]+)+[\s.>]*")
_LONGEST_LIST = 2_000  # characters; model output must not be able to cost minutes of matching


@dataclass(frozen=True, slots=True)
class Parsed:
    """Positions read from an answer, in order and without repetition, and what was wrong."""

    positions: tuple[int, ...]
    duplicates: int = 0
    out_of_range: int = 0

    def missing(self, n: int) -> tuple[int, ...]:
        """Which of ``n`` positions were not read, in the input order."""
        found = set(self.positions)
        return tuple(i for i in range(n) if i not in found)

    def completed(self, n: int) -> tuple[int, ...]:
        """A permutation of ``n``: what was read, then the rest in the input order."""
        return self.positions + self.missing(n)


def parse_permutation(text: str, n: int, alphabet: Alphabet = "numbers") -> Parsed:
    """Read the identifiers of ``n`` passages from a listwise answer.

    Args:
        text: What the model wrote.
        n: The number of passages in the window.
        alphabet: Which identifiers the prompt used.

    Returns:
        What was read; no positions at all when the answer is unusable.

    Examples:
        >>> parse_permutation("[2] > [3] > [1]", 3).positions
        (1, 2, 0)
        >>> parse_permutation("20 passages have been provided.", 20).positions
        ()
        >>> parse_permutation("2] > [2] > [7]", 3)
        Parsed(positions=(1,), duplicates=1, out_of_range=1)
    """
    positions: dict[int, None] = {}
    duplicates = out_of_range = 0
    for identifier in _identifiers(answer_text(text)):
        position = _position(identifier, alphabet)
        if position is None:
            continue
        if not 0 <= position < n:
            out_of_range += 1
        elif position in positions:
            duplicates += 1
        else:
            positions[position] = None
    return Parsed(tuple(positions), duplicates, out_of_range)


def answer_text(text: str) -> str:
    """The part after the model's reasoning; empty when the reasoning was never closed.

    Examples:
        >>> answer_text("<think>[1] looks good</think>[2] > [1]")
        '[2] > [1]'
        >>> answer_text("<think>[1] looks go")
        ''
    """
    head, closed, tail = text.rpartition(_THINK_CLOSE)
    if closed:
        return tail
    return "" if _THINK_OPEN in tail else tail or head


def _identifiers(text: str) -> Sequence[str]:
    ascii_digits = unicodedata.normalize("NFKC", text)
    groups = [*map(_bracketed, ascii_digits.split("]")[:-1])]
    bare = ascii_digits.strip()
    if not any(groups) and len(bare) <= _LONGEST_LIST and _BARE_LIST.fullmatch(bare):
        groups = [bare]
    return [item for group in groups for item in _ITEM.findall(group)]


def _bracketed(before: str) -> str:
    """The identifiers that a closing bracket ends, given the text since the last one.

    A first bracket may be lost (``12] > [13]``): then the last word counts.
    """
    _, opened, inside = before[-_LONGEST_LIST:].rpartition("[")
    if not opened:
        inside = (inside.split() or [""])[-1]
    return inside if _LIST.fullmatch(inside.strip()) else ""


def _position(identifier: str, alphabet: Alphabet) -> int | None:
    if alphabet == "numbers":
        # Nine digits are more than any list is long, and int() refuses thousands of them.
        return int(identifier[:9]) - 1 if identifier.isdecimal() else None
    return ord(identifier) - ord("A") if len(identifier) == 1 and "A" <= identifier <= "Z" else None
