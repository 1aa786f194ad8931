"""Encoded lists as the tensors of one training step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ._encoding import EncodedList, Row
from ._packing import packed

MODEL_INPUTS = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "logits_to_keep")
"""What of a batch the model reads; the rest belongs to the objective."""


@dataclass(frozen=True)
class Collator:
    """Puts lists together.

    Language models read padding on the left, so that the logits that are asked for are the last
    ``kept`` positions of every row; classifiers read it on the right.

    The batch of ``B`` lists of at most ``n`` passages in ``R`` rows has, beside the model's inputs:

    * ``relevance``, ``teacher``: ``(B, n)``; ``where``: ``(B, n)``, False for padding;
    * ``candidates``: ``(R, L)``, tokens whose logits after the prompt are scores, -1 for padding;
    * ``targets``: ``(R, kept)``, the token that the model should write next, -100 elsewhere;
    * ``unpack``: only where lists share a beginning, see `packed`;
    * ``ranks``: ``(R, kept)``, as in `Row`; ``last``: ``(R,)``, the prompt's last kept position.
    """

    pad_id: int
    classifier: bool = False

    def __call__(self, groups: Sequence[Sequence[EncodedList]]) -> dict[str, Any]:
        """The batch of some groups of lists; the lists of a group may share a beginning."""
        lists = [one for group in groups for one in group]
        rows = [row for one in lists for row in one.rows]
        batch = self._classified(rows) if self.classifier else self._prompted(rows)
        if any(len(group) > 1 for group in groups):
            batch |= packed([[row for one in group for row in one.rows] for group in groups])
        batch["relevance"] = _padded([one.relevance for one in lists], 0.0)
        batch["teacher"] = _padded([one.teacher for one in lists], 0.0)
        batch["where"] = _padded([[True] * len(one.relevance) for one in lists], False)
        return batch

    def _classified(self, rows: Sequence[Row]) -> dict[str, Any]:
        batch: dict[str, Any] = {
            "input_ids": _padded([row.ids for row in rows], self.pad_id),
            "attention_mask": _padded([[1] * len(row.ids) for row in rows], 0),
        }
        if rows[0].token_types:
            batch["token_type_ids"] = _padded([row.token_types for row in rows], 0)
        return batch

    def _prompted(self, rows: Sequence[Row]) -> dict[str, Any]:
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
    """The target's values at the positions that foretell it, and ``end`` after the last one."""
    return [*(values[len(values) - target :] if values and target else ()), end]


def _padded(rows: Sequence[Sequence[Any]], pad: Any, side: str = "right") -> torch.Tensor:
    kind = torch.tensor(pad).dtype
    tensors = [torch.tensor(row, dtype=kind) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=pad, padding_side=side)
