"""Checks of arguments: what passes, and what the message says of what does not."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest

from rerank_plugins import InputError, Usage
from rerank_plugins._checks import (
    at_least,
    fits,
    flag,
    known_keys,
    listed,
    one_of,
    positive,
    share,
)


@pytest.mark.parametrize("value", [1, 2, np.int64(7)])
def test_whole_numbers_from_the_least_on_pass(value):
    at_least(1, size=value)
    at_least(1, none=True, size=value, top_m=None)


@pytest.mark.parametrize("value", [0, -1, True, "1", 10**400])
def test_other_values_are_named(value):
    shown = f"{value!r:.80}"
    with pytest.raises(InputError, match=f"size is {shown}, expected at least 1$"):
        at_least(1, size=value)
    with pytest.raises(InputError, match=f"size is {shown}, expected at least 1, or None$"):
        at_least(1, none=True, top_m=None, size=value)


@pytest.mark.parametrize("value", [0.5, 1.5, math.nan])
def test_a_fraction_is_told_what_was_expected(value):
    expected = f"size is {value}, expected a whole number of at least 1$"
    with pytest.raises(InputError, match=expected):
        at_least(1, size=value)


def test_none_passes_where_it_stands_for_a_default_and_nowhere_else():
    for check in (lambda **v: at_least(1, **v), positive, share):
        with pytest.raises(InputError, match="size is None, expected"):
            check(size=None)


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None, math.nan, 10**400, []])
def test_shares_are_numbers_from_0_to_1(value):
    share(alpha=0, weight=1, k=np.float32(0.5))
    with pytest.raises(InputError, match=r"alpha is .*, expected a number from 0 to 1"):
        share(alpha=value)


def test_a_least_value_that_is_a_float_takes_any_number():
    at_least(0.0, k=0, weight=0.5)
    with pytest.raises(InputError, match="k is nan"):
        at_least(0.0, k=math.nan)
    with pytest.raises(InputError, match="k is inf"):
        at_least(0.0, k=math.inf)


@pytest.mark.parametrize("value", [0, -1.5, math.inf, math.nan, True, "1"])
def test_positive_numbers_alone_pass(value):
    positive(none=True, timeout_s=1e-300, weight=3, limit=None, k=np.float32(0.5))
    with pytest.raises(InputError, match=f"weight is {value!r}, expected a positive number"):
        positive(weight=value)


def test_one_of_several():
    one_of("policy", "a", ("a", "b"))
    with pytest.raises(InputError, match=r"policy is 'c'\. Give one of a, b\."):
        one_of("policy", "c", ("a", "b"))


def test_unknown_keys_are_named():
    known_keys("a spec", {"a": 1}, ("a", "b"))
    with pytest.raises(InputError, match=r"a spec has no x, y\. It has a, b\."):
        known_keys("a spec", ["y", "a", "x"], ("a", "b"))


@pytest.mark.parametrize(
    ("value", "hint", "fitting"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        (math.inf, float, True),
        (10**400, float, False),
        (True, float, False),
        ("a", str, True),
        (None, str, False),
        (None, str | None, True),
        ("stop", Literal["stop", "length"], True),
        ([], Literal["stop", "length"], False),
        ((1, 2), tuple[int, ...], True),
        ((), tuple[int, ...], True),
        ([1], tuple[int, ...], False),
        ((1, "a"), tuple[int, str], True),
        ((1,), tuple[int, str], False),
        ([1.5, 2], Sequence[float], True),
        ("ab", Sequence[str], False),
        ({"a": 1}, Mapping[str, int], True),
        ({"a": "b"}, Mapping[str, int], False),
        ([], Mapping[str, int], False),
        (Usage(), Usage, True),
        (Usage(calls="many"), Usage, False),
        ({"any": object}, Any, True),
    ],
)
def test_whether_a_value_is_of_a_type(value, hint, fitting):
    assert fits(value, hint) is fitting


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_a_flag_is_true_or_false(value):
    flag(allow_none=True, other=False)
    with pytest.raises(InputError, match=r"allow_none is .*, expected True or False"):
        flag(allow_none=value)


@pytest.mark.parametrize("value", ["ab", b"ab", None, 3])
def test_a_list_is_not_one_string(value):
    assert listed("queries", (x for x in "ab")) == ["a", "b"]
    with pytest.raises(InputError, match=r"queries is of type .*, expected a list"):
        listed("queries", value)
