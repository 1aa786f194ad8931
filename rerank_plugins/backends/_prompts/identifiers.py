"""Identifiers beyond A to Z: as many single, distinct tokens of a vocabulary as are needed."""

import string
from collections.abc import Callable, Iterator
from itertools import product

from ...errors import LabelError


def pick_identifiers(n: int, token_id: Callable[[str], int | None]) -> tuple[str, ...]:
    """The first ``n`` spellings that are single tokens, no two of them the same token.

    Args:
        n: How many passages need one.
        token_id: The token that a spelling is where it will stand; None when it is several.

    Raises:
        LabelError: The vocabulary has fewer.

    Examples:
        >>> pick_identifiers(3, {"A": 7, "C": 8, "AB": 9}.get)
        ('A', 'C', 'AB')
    """
    found: dict[int, str] = {}
    for spelling in _spellings():
        if len(found) == n:
            break
        token = token_id(spelling)
        if token is not None:
            found.setdefault(token, spelling)
    if len(found) < n:
        raise LabelError(
            f"this model has {len(found)} identifiers of one token, and {n} passages need one",
            hint="Use SlidingWindow or TopDown with a smaller window.",
        )
    return tuple(found.values())


def _spellings() -> Iterator[str]:
    """A to Z, AA to ZZ, then AAA to ZZZ: nothing else is escaped in passages."""
    for length in (1, 2, 3):
        yield from map("".join, product(string.ascii_uppercase, repeat=length))
