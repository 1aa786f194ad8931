"""What the losses over lists share."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_definitions import dense_ranks, grades

from rerank_plugins.training.losses import (
    ranks_of,
)


@given(st.lists(st.tuples(grades, st.booleans()), min_size=1, max_size=8))
def test_ranks_are_dense_and_padding_has_none(items):
    labels, where = (torch.tensor([values]) for values in zip(*items, strict=True))
    kept = [label for label, valid in items if valid]
    expected = iter(dense_ranks(kept))
    assert ranks_of(labels, where).tolist() == [[next(expected) if w else 0 for _, w in items]]
