"""Numbers from servers and clients, which may send anything in their place."""

import math

_MOST_TOKENS = 10**12


def to_float(value: object) -> float | None:
    """A number as a float; None for anything else, for NaN, and for one that is too large.

    Minus infinity is a number here: the logarithm of zero.

    Examples:
        >>> to_float(-2), to_float("-2"), to_float(True), to_float(10**400)
        (-2.0, None, None, None)
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return None if math.isnan(found) or found == math.inf else found


def to_count(value: object) -> int | None:
    """A whole number that can be a number of tokens; None for anything else.

    Examples:
        >>> to_count(7), to_count(-1), to_count(True), to_count(10**400)
        (7, None, None, None)
    """
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
