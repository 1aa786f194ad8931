"""Lists about the same passages in one forward pass: what their prompts begin with is read once.

A listwise prompt is mostly passages. Where the query comes after them, the prompts of several
queries about the same passages differ in their last tokens only. Laid out as one sequence, in which
each ending sees the common beginning and itself and nothing else, ten queries cost little more than
one. The losses are those of the lists one by one, up to rounding.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

from ._encoding import Row
from .data import TrainingList
from .data._draws import permuted, source

MOST_TOGETHER = 16
"""Lists in one group: their attention mask grows with the square of their tokens."""

Group = tuple[TrainingList, ...]


def groups(rows: Sequence[TrainingList], *, together: bool) -> list[Group]:
    """Neighbours that show the same passages, at most `MOST_TOGETHER`; or every list alone.

    Examples:
        >>> one, two, other = (
        ...     TrainingList(query, passages, (0, 1))
        ...     for query, passages in [("x", ("a", "b")), ("y", ("a", "b")), ("z", ("c", "d"))]
        ... )
        >>> [len(group) for group in groups([one, two, other], together=True)]
        [2, 1]
    """
    if not together:
        return [(row,) for row in rows]
    found: list[Group] = []
    for _, alike in groupby(rows, key=lambda row: row.passages):
        members = list(alike)
        found += [
            tuple(members[i : i + MOST_TOGETHER]) for i in range(0, len(members), MOST_TOGETHER)
        ]
    return found


def shuffled(group: Group, seed: int) -> Group:
    """The group's lists with their passages in one new order; it depends on seed and passages."""
    chance = source(seed, *map(str, group[0].passages))
    order = permuted(range(len(group[0])), chance)
    return tuple(row.select(order) for row in group)


def can_pack(model: Any) -> bool:
    """Whether the model's attention takes a mask of our own making."""
    config = model.config
    attention = getattr(config, "_attn_implementation", None)
    return attention in ("sdpa", "eager") and not getattr(config, "sliding_window", None)


def packed(rows: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """Groups of sequences as one sequence of ``T`` tokens.

    Returns:
        The model's inputs, with an additive mask ``(1, 1, T, T)``, and ``unpack``, ``(R, kept)``:
        where among the logits that are kept each row's last positions are.
    """
    ids: list[int] = []
    positions: list[int] = []
    blocks: list[tuple[int, int]] = []  # the group of each token, and its row; 0 for what is shared
    keep: list[list[int]] = []
    for number, group in enumerate(rows):
        shared = _common([row.ids for row in group])
        ids += group[0].ids[:shared]
        positions += range(shared)
        blocks += [(number, 0)] * shared
        for place, row in enumerate(group, start=1):
            ids += row.ids[shared:]
            positions += range(shared, len(row.ids))
            blocks += [(number, place)] * (len(row.ids) - shared)
            keep.append(list(range(len(ids) - 1 - row.target, len(ids))))
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "attention_mask": _mask(torch.tensor(blocks)),
        "logits_to_keep": torch.tensor([position for row in keep for position in row]),
        "unpack": _unpack([len(row) for row in keep]),
    }


def _common(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with; at least one of each stays its own."""
    most = min(map(len, rows)) - 1
    columns: Iterator[tuple[int, ...]] = zip(*(row[:most] for row in rows), strict=True)
    return next((i for i, column in enumerate(columns) if len(set(column)) > 1), most)


def _mask(blocks: torch.Tensor) -> torch.Tensor:
    """Each token sees what its group shares and its own row, up to itself: 0 there, else -inf."""
    group, row = blocks[:, 0], blocks[:, 1]
    seen = (group[:, None] == group[None]) & ((row[None] == 0) | (row[:, None] == row[None]))
    seen = seen.tril()
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(seen.shape).masked_fill(~seen, lowest)[None, None]


def _unpack(lengths: Sequence[int]) -> torch.Tensor:
    """Positions in the kept logits, the last on the right; padding repeats a row's first."""
    width, start = max(lengths), 0
    found = []
    for length in lengths:
        found.append([start] * (width - length) + list(range(start, start + length)))
        start += length
    return torch.tensor(found)
