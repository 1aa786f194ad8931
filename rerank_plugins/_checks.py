"""Arguments, checked: each function raises an `InputError` that names the argument."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .errors import InputError

T = TypeVar("T")

_FLOATS = 2**1023
"""What is larger has no float, and no argument of the library is."""

_REAL: Any = Real
"""For mypy, which does not know that real numbers compare."""


def _own(value: Any) -> Any:
    """A number of NumPy as Python's: its own does not compare with large integers."""
    return value.item() if hasattr(value, "item") else value


def at_least(least: float, /, *, none: bool = False, **values: object) -> None:
    """Refuse numbers below ``least``, and what is not a number.

    Args:
        least: The lowest value. Where it is an ``int``, only whole numbers pass; where it is a
            ``float``, every finite number from there on.
        none: Whether None passes: where it stands for a default.
        **values: The arguments by their names.

    Raises:
        InputError: One is below, is not a number, or is not whole where that is expected.

    Examples:
        >>> at_least(1, none=True, size=20, top_m=None)
        >>> at_least(1, size=0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: size is 0, expected at least 1
        >>> at_least(1, none=True, top_m=0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: top_m is 0, expected at least 1, or None
        >>> at_least(1, size=1.5)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: size is 1.5, expected a whole number of at least 1
    """
    kind = Integral if isinstance(least, int) else Real
    for name, value in values.items():
        if none and value is None:
            continue
        # `not least <= value` and not `value < least`: the value may be a NaN
        if (
            isinstance(value, bool)
            or not isinstance(value, kind)
            or not least <= _own(value) < _FLOATS
        ):
            whole = kind is Integral and isinstance(value, Real) and not isinstance(value, Integral)
            expected = f"{'a whole number of ' if whole else ''}at least {least}"
            or_none = ", or None" if none else ""
            raise InputError(f"{name} is {value!r:.80}, expected {expected}{or_none}")


def positive(*, none: bool = False, **values: object) -> None:
    """Refuse numbers that are not above 0, infinity, and what is not a number.

    Args:
        none: Whether None passes: where it stands for a default.
        **values: The arguments by their names.

    Raises:
        InputError: One is not above 0, is infinite, or is not a number.

    Examples:
        >>> positive(temperature=0.5)
        >>> positive(temperature=0.0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: temperature is 0.0, expected a positive number
    """
    for name, value in values.items():
        if none and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, _REAL) or not 0 < _own(value) < _FLOATS:
            expected = f"a positive number{' or None' if none else ''}"
            raise InputError(f"{name} is {value!r:.80}, expected {expected}")


def share(**values: object) -> None:
    """Refuse what is not a number from 0 to 1.

    Raises:
        InputError: One is outside, or is not a number.

    Examples:
        >>> share(alpha=0.2)
        >>> share(alpha=2)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: alpha is 2, expected a number from 0 to 1
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, _REAL) or not 0 <= value <= 1:
            raise InputError(f"{name} is {value!r:.80}, expected a number from 0 to 1")


def listed(name: str, values: Iterable[T], kind: type[T] | None = None) -> list[T]:
    """The values as a list; one string is refused, which is a list of its characters.

    Args:
        name: The argument.
        values: Its values.
        kind: The type that each must have; any when None.

    Raises:
        InputError: It is one string, or nothing that can be iterated, or a value is of another
            type.

    Examples:
        >>> listed("queries", ("one", "two"))
        ['one', 'two']
        >>> listed("queries", "one")
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: queries is of type str, expected a list
        >>> listed("documents", [1, "two"], int)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: documents[1] is of type str, expected int
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{name} is of type {type(values).__name__}, expected a list")
    found = list(values)
    for i, value in enumerate(found):
        if kind is not None and not isinstance(value, kind):
            raise InputError(
                f"{name}[{i}] is of type {type(value).__name__}, expected {kind.__name__}"
            )
    return found


def flag(**values: object) -> None:
    """Refuse what is not True or False.

    Raises:
        InputError: One is something else.

    Examples:
        >>> flag(allow_none=False)
        >>> flag(allow_none="no")
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: allow_none is 'no', expected True or False
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}, expected True or False")


def is_blank(text: str) -> bool:
    """Whether there is nothing to read in a text: white space, signs that nobody sees.

    Examples:
        >>> [is_blank(text) for text in ("flea", ".", "", " ", chr(0x200B))]
        [False, False, True, True, True]
    """
    return not any(sign.isprintable() and not sign.isspace() for sign in text)


def not_blank(**values: object) -> None:
    """Refuse what is not a string, and strings in which there is nothing to read.

    Raises:
        InputError: One is blank or of another type.

    Examples:
        >>> not_blank(instruction="Find code.")
        >>> not_blank(instruction=" ")
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: instruction is ' ', expected a text that is not blank
    """
    for name, value in values.items():
        if not isinstance(value, str) or is_blank(value):
            raise InputError(f"{name} is {value!r:.80}, expected a text that is not blank")


def one_of(name: str, value: object, known: Collection[str]) -> None:
    """Refuse a value that is not among ``known``.

    Raises:
        InputError: It is not; the hint names the nearest that are.

    Examples:
        >>> one_of("policy", "keep_order", ("keep_order", "generate"))
    """
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} is {value!r:.80}", hint=nearest_of(value, known, "Give one of"))


def known_keys(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse keys that are not among ``known``.

    Args:
        what: Whose keys they are, as the message begins.
        given: The keys.
        known: Those that there are.

    Raises:
        InputError: There are others; the message names them, and the nearest keys to the first.

    Examples:
        >>> known_keys("a reranker's spec", {"strategy": 1}, ("strategy", "backend"))
    """
    if unknown := sorted(set(given) - set(known)):
        hint = nearest_of(unknown[0], known, "It has")
        raise InputError(f"{what} has no {some_of(unknown)}", hint=hint)


NAMED = 5
"""Maximum number of names in a message."""


def some_of(names: Iterable[object], joint: str = ", ") -> str:
    """Names in a row for a message: the first few of them, and how many others there are.

    Examples:
        >>> some_of("abcdefgh")
        'a, b, c, d, e and 3 others'
    """
    listed = [str(name) for name in names]
    more = len(listed) - NAMED
    others = f" and {more} {'others' if more > 1 else 'other'}" if more > 0 else ""
    return joint.join(listed[:NAMED]) + others


def either(names: Iterable[object]) -> str:
    """Names in a row for a message, of which one is meant.

    Examples:
        >>> either("a"), either("ab"), either("abc")
        ('a', 'a or b', 'a, b or c')
    """
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last


def nearest_of(given: object, known: Iterable[object], lead: str = "Known:") -> str:
    """A hint for a name that is not known: those that are nearest to it, in a sentence.

    Names of a hub are compared with and without their organisation, all of them in any case.

    Args:
        given: The name.
        known: Those that there are.
        lead: The beginning of the sentence where none is close.

    Examples:
        >>> nearest_of("listnt", ["listnet", "ranknet", "hinge"], "It is one of")
        'It is one of listnet, hinge, ranknet.'
        >>> nearest_of("ranknot", ["listnet", "ranknet", "ranknots", *"abcd"])
        'Did you mean ranknots or ranknet?'
        >>> nearest_of("C", "abcdefgh")
        'Did you mean c?'
        >>> nearest_of("t5", ["a/t5-base", *"abcdefgh"]), nearest_of("bge", ["a/bge-m", *"bcdfhi"])
        ('Did you mean a/t5-base?', 'Did you mean a/bge-m?')
        >>> nearest_of("something", [])
        'There is none.'
    """
    order, ratios = _by_closeness(given, known)
    if len(order) > NAMED and (close := _close(order, ratios)):
        return f"Did you mean {either(close)}?"
    return f"{lead} {some_of(order)}." if order else "There is none."


def close_to(given: object, known: Iterable[object]) -> list[str]:
    """Those of the known names that may be meant by another one, the nearest first; at most five.

    Examples:
        >>> close_to("bge", ["a/bge-m", "a/t5"]), close_to("gpt2", ["a/bge-m", "a/t5"])
        (['a/bge-m'], [])
    """
    return _close(*_by_closeness(given, known))


def _close(order: Sequence[str], ratios: Mapping[str, float]) -> list[str]:
    return [name for name in order[:NAMED] if ratios[name] >= _CLOSE]


def _by_closeness(given: object, known: Iterable[object]) -> tuple[list[str], dict[str, float]]:
    """Names, the nearest first, and how near each is."""
    from difflib import SequenceMatcher  # imported here: nothing else needs it

    text = str(given).casefold()

    def closeness(name: str) -> float:
        pairs = ((text, name.casefold()), (_short(text), _short(name.casefold())))
        ratio = max(SequenceMatcher(None, *pair).ratio() for pair in pairs)
        return (1 + ratio) / 2 if len(text) >= _PART and text in name.casefold() else ratio

    ratios = {name: closeness(name) for name in map(str, known)}
    return sorted(ratios, key=ratios.__getitem__, reverse=True), ratios


_CLOSE = 0.6
"""Ratio of `difflib` from which on a name may be what was meant: that of its close matches."""
_PART = 2
"""Characters from which on a part of a name may stand for it."""


def _short(name: str) -> str:
    """The name of a model without its organisation."""
    return name.rpartition("/")[2]


def fits(value: object, hint: Any) -> bool:
    """True when a value, with all that it holds, is of a type: for what a file gave.

    Args:
        value: The value.
        hint: A class, a dataclass, or a union, literal, tuple, sequence or mapping of such.

    Examples:
        >>> fits((("a", 1),), tuple[tuple[str, float], ...]), fits([1, None], Sequence[int])
        (True, False)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple and inner[-1] is not Ellipsis:
        same = isinstance(value, tuple) and len(value) == len(inner)
        return same and all(map(fits, cast(tuple[Any, ...], value), inner))
    if origin in (tuple, Sequence):
        held = isinstance(value, origin) and not isinstance(value, str)
        return held and all(fits(item, inner[0]) for item in cast(Sequence[Any], value))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items()
        )
    return _is(value, hint)


def _is(value: object, kind: Any) -> bool:
    if kind is float and isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**1023  # more has no float
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is not Any and not isinstance(value, kind):
        return False
    return all(fits(getattr(value, name), hint) for name, hint in _hints(kind).items())


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields; nothing for another class."""
    return get_type_hints(kind) if is_dataclass(kind) else {}
