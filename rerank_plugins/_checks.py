"""Arguments, checked: each function raises an `InputError` that names the argument."""

import math
from collections.abc import Collection, Iterable
from numbers import Integral, Real

from .errors import InputError


def at_least(least: float, **values: object) -> None:
    """Refuse numbers below ``least``, and what is not a number.

    Args:
        least: The lowest value. Where it is an ``int``, only whole numbers pass; where it is a
            ``float``, every finite number from there on.
        **values: The arguments by their names. None passes: it stands for a default.

    Raises:
        InputError: One is below, is not a number, or is not whole where that is expected.

    Examples:
        >>> at_least(1, size=20, top_m=None)
        >>> at_least(1, size=0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: size is 0, expected at least 1
    """
    kind = Integral if isinstance(least, int) else Real
    for name, value in values.items():
        if value is None:
            continue
        # `not least <= value` and not `value < least`: the value may be a NaN
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value < math.inf:  # type: ignore[operator]  # mypy does not know that Integral and Real compare
            raise InputError(f"{name} is {value!r}, expected at least {least}")


def positive(**values: object) -> None:
    """Refuse numbers that are not above 0, infinity, and what is not a number.

    Args:
        **values: The arguments by their names. None passes: it stands for a default.

    Raises:
        InputError: One is not above 0, is infinite, or is not a number.

    Examples:
        >>> positive(temperature=0.5, timeout_s=None)
        >>> positive(temperature=0.0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: temperature is 0.0, expected a positive number
    """
    for name, value in values.items():
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, Real)
            or not 0 < float(value) < math.inf
        ):
            raise InputError(f"{name} is {value!r}, expected a positive number")


def one_of(name: str, value: object, known: Collection[str]) -> None:
    """Refuse a value that is not among ``known``.

    Raises:
        InputError: It is not; the hint lists what is.

    Examples:
        >>> one_of("policy", "keep_order", ("keep_order", "generate"))
    """
    if value not in known:
        raise InputError(f"{name} is {value!r}", hint=f"Give one of {', '.join(known)}.")


def known_keys(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse keys that are not among ``known``.

    Args:
        what: Whose keys they are, as the message begins.
        given: The keys.
        known: Those that there are.

    Raises:
        InputError: There are others; the message names them.

    Examples:
        >>> known_keys("a reranker's spec", {"strategy": 1}, ("strategy", "backend"))
    """
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"{what} has no {', '.join(unknown)}", hint=f"It has {', '.join(known)}.")
