"""Orders from a model's answer, with a count of the repairs.

Written against answers of real 7B and 13B rerankers: a lost first bracket (``12] > [13]``),
list numbers beside identifiers (``1. [14] > 2. [19]``), prose with digits (``20 passages have
been provided.``), empty brackets, repetitions and reasoning. Digits in prose are never read as
identifiers; an answer without identifiers is malformed and leaves the order as it was.
"""

import re
import unicodedata
from dataclasses import dataclass, replace

from ..text import Alphabet

_REASONING_STARTS = re.compile(r"<(?:think|reason)>")
_REASONING_ENDS = re.compile(r"</(?:think|reason)>")
_ANSWER_OPEN, _ANSWER_CLOSE = "<answer>", "</answer>"

_ITEM = re.compile(r"[A-Za-z0-9]+")
# The text between brackets: "3", or "3, 1, 2".
_LIST = re.compile(r"[A-Za-z0-9]+(?:\s*[,;>]\s*[A-Za-z0-9]+)*")
# A whole answer that is nothing but identifiers: "3 > 1 > 2", "B, A, C", or one per line.
_BARE_LIST = re.compile(r"[A-Za-z0-9]+(?:\s*(?:[>,;]|\n)\s*[A-Za-z0-9]+)+[\s.>]*")
_LONGEST_LIST = 2_000  # characters; no model output may cost minutes of matching


@dataclass(frozen=True, slots=True)
class Parsed:
    """Positions read from an answer, in order and without repetition, and counts of repairs."""

    positions: tuple[int, ...]
    duplicates: int = 0
    out_of_range: int = 0

    def missing(self, n: int) -> tuple[int, ...]:
        """The positions, out of ``n``, that were not read, in the input order."""
        found = set(self.positions)
        return tuple(i for i in range(n) if i not in found)

    def first(self, m: int) -> "Parsed":
        """The first ``m`` positions."""
        return replace(self, positions=self.positions[:m])

    def completed(self, n: int) -> tuple[int, ...]:
        """A permutation of ``n``: the positions read, then the others in the input order."""
        return self.positions + self.missing(n)


def parse_permutation(
    text: str, n: int, alphabet: Alphabet = "numbers", *, reasoning: bool = False
) -> Parsed:
    """Read the identifiers of ``n`` passages from a listwise answer.

    Args:
        text: The model's answer.
        n: The number of passages in the window.
        alphabet: The identifiers in the prompt.
        reasoning: Whether the prompt demanded reasoning and then ``<answer>...</answer>``.

    Returns:
        The positions; none if the answer is unusable.

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
    answer = unicodedata.normalize("NFKC", answer_text(text, reasoning=reasoning))
    groups = [*map(_bracketed, answer.split("]")[:-1])]
    bare = answer.strip()
    if not any(groups) and len(bare) <= _LONGEST_LIST and _BARE_LIST.fullmatch(bare):
        groups = [bare]
    for identifier in (item for group in groups for item in _ITEM.findall(group)):
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


def answer_text(text: str, *, reasoning: bool = False) -> str:
    """The part after the model's reasoning; empty if there is none.

    If it has an ``<answer>``, only the text from there to ``</answer>`` counts; an answer that the
    token limit cut has no closing tag.

    Args:
        text: The model's whole output.
        reasoning: Whether the prompt demanded the tags. Then text without them is reasoning, and
            never read as an answer.

    Examples:
        >>> answer_text("<think>[1] looks good</think>[2] > [1]")
        '[2] > [1]'
        >>> answer_text("<think>[1] looks go")
        ''
        >>> answer_text("<think>[1]?</think> <answer>[2] > [1]</answer> as I said", reasoning=True)
        '[2] > [1]'
        >>> answer_text("I compare [1] with [2]", reasoning=True)
        ''
    """
    *reasons, tail = _REASONING_ENDS.split(text)
    if not reasons and _REASONING_STARTS.search(tail):
        # Never closed: drafts in it are not answers, but a complete one at the very end is.
        last = tail.rstrip().removesuffix(_ANSWER_CLOSE)
        return last.rpartition(_ANSWER_OPEN)[2] if last != tail.rstrip() else ""
    _, opened, answer = tail.rpartition(_ANSWER_OPEN)
    if opened:
        return answer.partition(_ANSWER_CLOSE)[0]
    return "" if reasoning else tail


def _bracketed(before: str) -> str:
    """The identifiers before a closing bracket, given the text since the last one.

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


def parse_label(text: str, n: int, alphabet: Alphabet, *, reasoning: bool = False) -> int | None:
    """Read the one passage that a setwise answer names: ``[3]``, ``B`` or ``Passage B``.

    Returns:
        Its position; None if the answer names none of the ``n``, or more than one.

    Examples:
        >>> parse_label("Passage C", 4, "letters"), parse_label("It depends.", 4, "letters")
        (2, None)
    """
    answer = answer_text(text, reasoning=reasoning)
    bracketed = parse_permutation(answer, n, alphabet)
    if bracketed.positions or bracketed.out_of_range:
        only = len(bracketed.positions) == 1 and not bracketed.out_of_range
        return bracketed.positions[0] if only else None
    named = _NAMED.fullmatch(unicodedata.normalize("NFKC", answer).strip())
    position = _position(named[1], alphabet) if named else None
    return position if position is not None and 0 <= position < n else None


_NAMED = re.compile(r"(?:passage|document)?\s*\"?([A-Za-z]|\d{1,9})\"?[\s.]*", re.IGNORECASE)
