"""Vectors that a model gave to texts, and how they are compared."""

import math
from collections.abc import Sequence
from operator import mul

from ..calls import Vectors
from ..errors import ModelOutputError

Vector = tuple[float, ...]


def rows_of(answer: Vectors, n: int) -> tuple[Vector, ...]:
    """The vectors of an answer.

    Args:
        answer: The model's.
        n: How many there must be.

    Raises:
        ModelOutputError: There are more or fewer, or one is empty, of another length than the
            others, of zeros, or not of finite numbers.
    """
    rows = answer.rows
    if len(rows) != n:
        raise ModelOutputError(f"the model gave {len(rows)} vectors where {n} were asked for")
    lengths = [math.hypot(*row) for row in rows]
    if len(set(map(len, rows))) != 1 or not all(0 < length < math.inf for length in lengths):
        raise ModelOutputError(
            "the model's vectors are not of finite numbers, or are zeros",
            hint="Try dtype='float32'.",
        )
    return rows


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors, from -1 to 1; 0 if one is of zeros.

    Raises:
        ModelOutputError: They have different lengths.

    Examples:
        >>> cosine((1.0, 0.0), (2.0, 0.0)), cosine((1.0, 0.0), (0.0, 3.0))
        (1.0, 0.0)
    """
    if len(one) != len(other):
        raise ModelOutputError(
            f"a query's vector has {len(one)} numbers and a passage's {len(other)}",
            hint="Both must come from the same model.",
        )
    lengths = math.hypot(*one) * math.hypot(*other)
    return min(1.0, max(-1.0, math.fsum(map(mul, one, other)) / lengths)) if lengths else 0.0
