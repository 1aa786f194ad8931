"""Groups of lists, and encoded groups as the tensors of one training step.

A listwise prompt is mostly passages. Where the query comes after them, the prompts of several
queries about the same passages differ in their last tokens only. Such a group is packed: laid out
as one sequence, in which each ending attends to the common beginning and to itself alone, ten
queries cost little more than one. The losses are those of the lists one by one, up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ._encoding import EncodedList, Row
from .data import TrainingList
from .data._draws import permuted, source

MODEL_INPUTS = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "logits_to_keep")
"""The parts of a batch that the model reads; the rest belongs to the objective."""

MOST_TOGETHER = 16
"""Lists in one group: their attention mask grows with the square of their tokens."""

Group = tuple[TrainingList, ...]


def group_lists(rows: Sequence[TrainingList], *, together: bool) -> list[Group]:
    """Put neighbours that show the same passages together, at most `MOST_TOGETHER`.

    Args:
        rows: The lists.
        together: False leaves every list alone.

    Examples:
        >>> one, two, other = (
        ...     TrainingList(query, passages, (0, 1))
        ...     for query, passages in [("x", ("a", "b")), ("y", ("a", "b")), ("z", ("c", "d"))]
        ... )
        >>> [len(group) for group in group_lists([one, two, other], together=True)]
        [2, 1]
    """
    if not together:
        return [(row,) for row in rows]
    found: list[Group] = []
    for _, same in groupby(rows, key=lambda row: row.passages):
        members = tuple(same)
        found += [members[i : i + MOST_TOGETHER] for i in range(0, len(members), MOST_TOGETHER)]
    return found


def shuffle_group(group: Group, seed: int) -> Group:
    """The group's lists with their passages in one new order; it depends on seed and passages."""
    chance = source(seed, *map(str, group[0].passages))
    order = permuted(range(len(group[0])), chance)
    return tuple(row.select(order) for row in group)


def can_pack(model: Any) -> bool:
    """Whether the model's attention takes a mask that the caller made."""
    config = model.config
    attention = getattr(config, "_attn_implementation", None)
    return attention in ("sdpa", "eager") and not getattr(config, "sliding_window", None)


@dataclass(frozen=True)
class Collator:
    """Makes batches of encoded lists.

    Language models read padding on the left, so that the logits that are needed are the last
    ``kept`` positions of every row; classifiers and encoders read it on the right.

    The batch of ``B`` lists of at most ``n`` passages in ``R`` rows has, beside the model's inputs:

    * ``relevance``, ``teacher``: ``(B, n)``; ``where``: ``(B, n)``, False for padding;
    * ``candidates``: ``(R, L)``, tokens whose logits after the prompt are scores, -1 for padding;
    * ``targets``: ``(R, kept)``, the token that the model should write next, -100 elsewhere;
    * ``unpack``: only where lists share a beginning, see `pack`;
    * ``ranks``: ``(R, kept)``, as in `Row`; ``last``: ``(R,)``, the prompt's last kept position;
    * ``counted``: only for late interaction, ``(R, L)``, True where a token's vector counts.
    """

    pad_id: int
    classifier: bool = False

    def __call__(self, groups: Sequence[Sequence[EncodedList]]) -> dict[str, Any]:
        """Make the batch of some groups of lists; the lists of a group may share a beginning."""
        lists = [one for group in groups for one in group]
        rows = [row for one in lists for row in one.rows]
        batch: dict[str, Any]
        if self.classifier:
            batch = {
                "input_ids": _padded([row.ids for row in rows], self.pad_id),
                "attention_mask": _padded([[1] * len(row.ids) for row in rows], 0),
            }
            if rows[0].token_types:
                batch["token_type_ids"] = _padded([row.token_types for row in rows], 0)
            if any(row.counted[1] for row in rows):
                counted = [[i in range(*row.counted) for i in range(len(row.ids))] for row in rows]
                batch["counted"] = _padded(counted, False)
        else:
            batch = self._prompts(rows)
        if any(len(group) > 1 for group in groups):
            batch |= pack([[row for one in group for row in one.rows] for group in groups])
        batch["relevance"] = _padded([one.relevance for one in lists], 0.0)
        batch["teacher"] = _padded([one.teacher for one in lists], 0.0)
        batch["where"] = _padded([[True] * len(one.relevance) for one in lists], False)
        return batch

    def _prompts(self, rows: Sequence[Row]) -> dict[str, Any]:
        kept = max(row.target for row in rows) + 1
        mask = _padded([[1] * len(row.ids) for row in rows], 0, "left")
        return {
            "input_ids": _padded([row.ids for row in rows], self.pad_id, "left"),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
            "logits_to_keep": kept,
            "candidates": _padded([row.labels for row in rows], -1),
            "targets": _padded([_next(row.ids, row.target, -100) for row in rows], -100, "left"),
            "ranks": _padded([_next(row.ranks, row.target, 0) for row in rows], 0, "left"),
            "last": torch.tensor([kept - 1 - row.target for row in rows]),
        }


def _next(values: Sequence[int], target: int, end: int) -> list[int]:
    """The target's values at the positions that predict it, and ``end`` after the last one."""
    return [*(values[len(values) - target :] if values and target else ()), end]


def _padded(rows: Sequence[Sequence[Any]], pad: Any, side: str = "right") -> torch.Tensor:
    kind = torch.tensor(pad).dtype
    tensors = [torch.tensor(row, dtype=kind) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=pad, padding_side=side)


def pack(groups: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """Lay groups of sequences out as one sequence of ``T`` tokens.

    Returns:
        The model's inputs, with an additive mask ``(1, 1, T, T)``, and ``unpack``, ``(R, kept)``:
        the places of each row's last positions among the logits that are kept, the last on the
        right; padding repeats a row's first.
    """
    ids: list[int] = []
    positions: list[int] = []
    blocks: list[tuple[int, int]] = []  # each token's group, and its row; 0 for what is shared
    keep: list[int] = []
    places: list[list[int]] = []
    for number, group in enumerate(groups):
        shared = _shared(group)
        ids += group[0].ids[:shared]
        positions += range(shared)
        blocks += [(number, 0)] * shared
        for place, row in enumerate(group, start=1):
            ids += row.ids[shared:]
            positions += range(shared, len(row.ids))
            blocks += [(number, place)] * (len(row.ids) - shared)
            before = len(keep)
            keep += range(len(ids) - 1 - row.target, len(ids))
            places.append(list(range(before, len(keep))))
    width = max(map(len, places))
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "attention_mask": _mask(torch.tensor(blocks)),
        "logits_to_keep": torch.tensor(keep),
        "unpack": torch.tensor([[row[0]] * (width - len(row)) + row for row in places]),
    }


def mostly_shared(rows: Sequence[Row]) -> bool:
    """Whether the common beginning of some sequences is more than half of each.

    Packed, what is not common makes one long sequence, and attention grows with its square.
    """
    return 2 * _shared(rows) > max(len(row.ids) for row in rows)


def _shared(rows: Sequence[Row]) -> int:
    """The number of tokens at the beginning that are common to some sequences."""
    most = min(len(row.ids) for row in rows) - 1  # at least one token of each stays its own
    differing = (i for i in range(most) if len({row.ids[i] for row in rows}) > 1)
    return next(differing, most)


def _mask(blocks: torch.Tensor) -> torch.Tensor:
    """Each token sees what its group shares and its own row, up to itself: 0 there, else lowest."""
    group, row = blocks[:, 0], blocks[:, 1]
    seen = (group[:, None] == group[None]) & ((row[None] == 0) | (row[:, None] == row[None]))
    seen = seen.tril()
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(seen.shape).masked_fill(~seen, lowest)[None, None]
