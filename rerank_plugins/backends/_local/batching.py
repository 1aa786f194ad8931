"""Which sequences run together, and what those that begin alike need to compute only once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_ROWS = 32
"""Sequences in one forward pass at most: bounds the memory that their logits take."""
LEAST_SHARED = 32
"""Tokens at the beginning of sequences that are worth a forward pass of their own."""
LEAST_SAVED = 0.1
"""The same as a part of all tokens: what follows a shared beginning runs a little slower."""


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences that begin alike.

    Args:
        members: Their positions.
        shared: Tokens at their beginning to compute once; 0 where each is computed whole.
    """

    members: tuple[int, ...]
    shared: int = 0

    @property
    def saved(self) -> int:
        """Tokens that need not be computed."""
        return self.shared * (len(self.members) - 1)


def groups(sequences: Sequence[list[int]], most: Sequence[int]) -> list[Group]:
    """The sequences in groups that begin alike, so that the fewest tokens are left to compute.

    Sequences that share too little to gain anything are in one group with ``shared=0``, the last.

    Args:
        sequences: Token ids.
        most: How many of each sequence's tokens may be shared at most.

    Examples:
        >>> one, other = [1] * 40, [2] * 40
        >>> found = groups([[*one, 5], [*other, 6], [*one, 7, 8], [*other, 9], [3]], [40] * 5)
        >>> [(group.members, group.shared) for group in found]
        [((0, 2), 40), ((1, 3), 40), ((4,), 0)]
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    common = [
        _alike(sequences[a], sequences[b], max(0, min(most[a], most[b])))
        for a, b in pairwise(order)
    ]
    found = [Group(tuple(sorted(order[a:b])), n) for a, b, n in _spans(common, 0, len(order))]
    worth = [g for g in found if g.saved > LEAST_SAVED * sum(len(sequences[i]) for i in g.members)]
    left = sorted({*range(len(sequences))}.difference(*(g.members for g in worth)))
    return [*worth, *([Group(tuple(left))] if left else [])]


def _alike(a: Sequence[int], b: Sequence[int], most: int) -> int:
    """How many tokens two sequences begin with in common, up to ``most``."""
    return next((i for i in range(most) if a[i] != b[i]), most)


def _spans(common: Sequence[int], start: int, stop: int) -> list[tuple[int, int, int]]:
    """Sorted sequences ``start`` to ``stop`` in spans ``(start, stop, shared)`` that save most.

    ``common[i]`` is what neighbours ``i`` and ``i + 1`` share. All of them share the least of it;
    cut at the least, the parts may share more: queries under one instruction, say.
    """
    if stop - start < 2:
        return [(start, stop, 0)] if stop > start else []
    shared = min(common[start : stop - 1])
    # Steps that grow, so that there are few levels however the texts are made.
    deeper = shared + max(4, shared // 8)
    cuts = [i + 1 for i in range(start, stop - 1) if common[i] < deeper]
    parts = [s for a, b in pairwise([start, *cuts, stop]) for s in _spans(common, a, b)]
    together = shared * (stop - start - 1) if shared >= LEAST_SHARED else 0
    apart = sum(n * (b - a - 1) for a, b, n in parts)
    return [(start, stop, shared)] if together and together >= apart else parts


def batches(
    lengths: Sequence[int], budget: int | None, most: int = MAX_ROWS
) -> Iterator[list[int]]:
    """Positions in ``lengths``, grouped so that no group holds more than ``budget`` tokens.

    Longest first, so that neighbours are of like length, padding is small, and a batch that is
    too large for memory fails at once and not at the end.

    Args:
        lengths: Tokens of each sequence.
        budget: Tokens in a group, padding included; a longer sequence gets a group of its own.
            None puts every sequence into its own group.
        most: Sequences in a group.

    Examples:
        >>> list(batches([3, 9, 4, 4], budget=12))
        [[1], [2, 3, 0]]
    """
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[group[0]] if group else lengths[i]
        full = budget is None or longest * (len(group) + 1) > budget or len(group) >= most
        if group and full:
            yield group
            group = []
        group.append(i)
    if group:
        yield group
