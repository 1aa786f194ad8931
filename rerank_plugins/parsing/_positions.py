"""Identifiers of passages, read as positions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..text import Alphabet


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


def read_positions(items: Sequence[str], n: int, alphabet: Alphabet) -> Parsed:
    """Read identifiers as positions of ``n`` passages; what names none of them is counted."""
    positions: dict[int, None] = {}
    duplicates = out_of_range = 0
    for position in (_position(item, alphabet) for item in items):
        if position is None:
            continue
        if not 0 <= position < n:
            out_of_range += 1
        elif position in positions:
            duplicates += 1
        else:
            positions[position] = None
    return Parsed(tuple(positions), duplicates, out_of_range)


def _position(identifier: str, alphabet: Alphabet) -> int | None:
    if alphabet == "numbers":
        # Nine digits are more than any list is long, and int() refuses thousands of them.
        return int(identifier[:9]) - 1 if identifier.isascii() and identifier.isdecimal() else None
    return ord(identifier) - ord("A") if len(identifier) == 1 and "A" <= identifier <= "Z" else None
