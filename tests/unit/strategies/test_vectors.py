"""Vectors of models, checked and compared."""

import math

import pytest

from rerank_plugins import ModelOutputError
from rerank_plugins.calls import Vectors
from rerank_plugins.strategies._vectors import cosine, rows_of

ROWS = ((1.0, 0.0), (0.0, 2.0))


def test_vectors_of_the_right_number_are_taken():
    assert rows_of(Vectors(ROWS), 2) is ROWS


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ROWS[:1],
        (*ROWS, (1.0, 1.0)),
        ((), ()),
        ((1.0,), (1.0, 2.0)),
        ((1.0, math.nan), (1.0, 1.0)),
        ((1.0, 1.0), (math.inf, 1.0)),
        ((0.0, 0.0), (1.0, 1.0)),
    ],
)
def test_anything_else_is_the_model_s_error(rows):
    with pytest.raises(ModelOutputError):
        rows_of(Vectors(rows), 2)


def test_cosines():
    assert cosine((3.0, 4.0), (4.0, 3.0)) == pytest.approx(24 / 25)
    assert cosine((1.0, 1.0), (-2.0, -2.0)) == pytest.approx(-1.0)
    third = (1 / 3,) * 7
    assert cosine(third, third) == pytest.approx(1.0)
    assert cosine((0.0,), (1.0,)) == 0.0
    with pytest.raises(ModelOutputError, match="1 numbers and a passage's 2"):
        cosine((1.0,), (1.0, 2.0))
