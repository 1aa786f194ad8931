"""Attributes of components that are checked whenever they are assigned."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from .._checks import some_of
from ..errors import InputError

Checks = Mapping[str, Callable[[str, Any], None]]
"""What refuses a wrong value, given its name and the value, by the names of attributes."""


class Checked:
    """Base of objects whose public attributes can be assigned after they were made.

    Attributes:
        _checks: The checks of the attributes that may change later.
    """

    _checks: ClassVar[Checks] = {}
    _fixed: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._fixed:
            raise InputError(
                f"{name} cannot be changed, because the {type(self).__name__} was built from it",
                hint="Make another one.",
            )
        if (check := self._checks.get(name)) is not None:
            check(name, value)
        super().__setattr__(name, value)

    def _fix(self) -> None:
        """Refuse from now on what would be ignored: other public attributes."""
        public = {name for name in vars(self) if not name.startswith("_")}
        self._fixed = frozenset(public - set(self._checks))


def check_flag(name: str, value: object) -> None:
    """Refuse what is not True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, but got {value!r}")


def check_text(name: str, value: object) -> None:
    """Refuse what is not a string."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string, but got {value!r}")


def check_names(name: str, value: object) -> None:
    """Refuse what is neither None nor a list of strings; a single string is not a list."""
    listed = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    if not listed and value is not None:
        raise InputError(f"{name} must be a list of strings, but got {value!r}")


def check_part(name: str, part: object, *, inputs: Collection[str], optional: bool = False) -> None:
    """Refuse a part of a component whose ``run`` lacks arguments that it will be given.

    Args:
        name: The argument that holds the part.
        part: The part.
        inputs: The names of the arguments.
        optional: Whether None passes.

    Raises:
        InputError: The part is a class, has no ``run``, or an argument is missing.
    """
    if optional and part is None:
        return
    run = getattr(part, "run", None)
    if isinstance(part, type) or not callable(run):
        raise InputError(f"{name} is {part!r:.200}, expected an object with a method run")
    known = inspect.signature(run).parameters
    missing = [one for one in inputs if one not in known]
    if missing and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        raise InputError(
            f"{name} is a {type(part).__name__}, and its run takes no {some_of(missing)}",
            hint=f"It takes {some_of(known)}.",
        )
