"""The loss that looks at one passage at a time."""

import pytest
from loss_definitions import double, softplus

from rerank_plugins.training.losses import (
    RANKING_LOSSES,
)


def test_a_single_passage_and_one_grade_count_for_a_pointwise_loss():
    found = RANKING_LOSSES["bce"](double([[2.0]]), double([[0]]))
    assert found.item() == pytest.approx(softplus(2.0))
