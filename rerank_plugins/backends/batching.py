"""Which sequences run together."""

from collections.abc import Iterator, Sequence

MAX_ROWS = 32
"""Sequences in one forward pass at most: bounds the memory that their logits take."""


def batches(lengths: Sequence[int], budget: int | None) -> Iterator[list[int]]:
    """Positions in ``lengths``, grouped so that no group holds more than ``budget`` tokens.

    Longest first, so that neighbours are of like length, padding is small, and a batch that is
    too large for memory fails at once and not at the end.

    Args:
        lengths: Tokens of each sequence.
        budget: Tokens in a group, padding included; a longer sequence gets a group of its own.
            None puts every sequence into its own group.

    Examples:
        >>> list(batches([3, 9, 4, 4], budget=12))
        [[1], [2, 3, 0]]
    """
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[group[0]] if group else lengths[i]
        full = budget is None or longest * (len(group) + 1) > budget or len(group) == MAX_ROWS
        if group and full:
            yield group
            group = []
        group.append(i)
    if group:
        yield group
