"""Numbers from servers: what counts as one, and that nothing else is taken for one."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.backends._answers.numbers import to_count, to_float

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0.0), (-2, -2.0), (-0.5, -0.5), (1e300, 1e300), (-math.inf, -math.inf), (2**60, 2.0**60)],
)
def test_numbers_are_floats(value, number):
    assert to_float(value) == number
    assert type(to_float(value)) is float


@pytest.mark.parametrize("value", [True, None, "1", math.nan, math.inf, 10**400, [1], {"a": 1}])
def test_what_is_not_a_number_is_none(value):
    assert to_float(value) is None


@pytest.mark.parametrize("value", [0, 1, 10**12])
def test_counts_are_whole_numbers_from_zero(value):
    assert to_count(value) == value


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None, 10**12 + 1, math.nan, [1]])
def test_what_is_not_a_count_is_none(value):
    assert to_count(value) is None


@given(anything)
def test_anything_is_a_finite_number_minus_infinity_or_none(value):
    found = to_float(value)
    assert found is None or (not math.isnan(found) and found < math.inf)
    count = to_count(value)
    assert count is None or json.loads(json.dumps(count)) == count >= 0
