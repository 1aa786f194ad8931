"""How often each piece of work was begun and not ended: what kills its process must not go on."""

from collections.abc import Sequence
from typing import Any

from ..._extras import extra

MAX_ALONE = 2
"""How often a query is ranked alone after its batch had killed an actor."""


class Attempts:
    """Counts. One process holds it, and outlives the actors that ask it.

    Examples:
        >>> attempts = Attempts()
        >>> attempts.begin("a"), attempts.begin("a")
        (1, 2)
        >>> attempts.end("a")
        >>> attempts.begin("a")
        1
    """

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}

    def begin(self, key: str) -> int:
        """Which attempt this is, from 1."""
        self._begun[key] = self._begun.get(key, 0) + 1
        return self._begun[key]

    def end(self, key: str) -> None:
        """It went well, or failed in good order: forget it."""
        self._begun.pop(key, None)


class Shared:
    """`Attempts` in a Ray actor of its own, for all workers of a job.

    Ray gives the batch of an actor that died to another without end (and its limits are about to
    go, in Ray 2.64), so a query that always kills its process would keep a job going for ever.
    """

    def __init__(self) -> None:
        ray = extra("ray", "ray")
        self._actor: Any = ray.remote(num_cpus=0)(Attempts).remote()

    def begin(self, key: str) -> int:
        """As `Attempts.begin`."""
        return int(extra("ray", "ray").get(self._actor.begin.remote(key)))

    def end(self, key: str) -> None:
        """As `Attempts.end`."""
        extra("ray", "ray").get(self._actor.end.remote(key))


def batch_key(query_ids: Sequence[str]) -> str:
    """What a batch goes by: no query has that id, for every batch has the word in front."""
    return "\0".join(("batch", *query_ids))
