"""Repeatable random draws: each has its own generator, made from names and a seed.

A query's draws depend on nothing but the seed and the query's own names: not on the queries before
it, nor on how many there are. Of `random.Random` only ``random()`` is used: its sequence is all
that Python promises to keep between versions.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def source(seed: int, *names: object) -> random.Random:
    """A random generator for what these names stand for.

    Examples:
        >>> source(1, "q7").random() == source(1, "q7").random()
        True
        >>> source(1, "q7").random() == source(1, "q8").random()
        False
    """
    return random.Random(repr((seed, *names)))  # noqa: S311 - samples, not secrets


def permuted(items: Sequence[T], chance: random.Random) -> list[T]:
    """The items in random order."""
    keys = [chance.random() for _ in items]
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def drawn(items: Sequence[T], count: int, chance: random.Random) -> list[T]:
    """Up to ``count`` of the items, each at most once, in random order."""
    return permuted(items, chance)[:count]
