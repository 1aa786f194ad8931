"""Passages, and the queries that were made from them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random


@dataclass
class Pool:
    """The passages and queries that lists are drawn from.

    Attributes:
        passages: Text by id.
        queries: Each with the id of the passage that it was made from.
    """

    passages: dict[str, str] = field(default_factory=dict)
    queries: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, passage: str, queries: Iterable[str]) -> None:
        """Add queries that were made from a passage."""
        self.queries.extend((query, passage) for query in queries)


def joined(pools: Iterable[Pool]) -> Pool:
    """All passages and queries of several sources."""
    made = Pool()
    for pool in pools:
        made.passages.update(pool.passages)
        made.queries.extend(pool.queries)
    return made


def filled(templates: tuple[str, ...], chance: Random, *words: str) -> str:
    """One of the templates with these words in it."""
    return chance.choice(templates).format(*words)
