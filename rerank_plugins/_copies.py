"""Copies and pickles of objects that hold locks, models and connections."""

from dataclasses import fields
from typing import Any


class CopiedByArguments:
    """An object that is copied and pickled by the arguments of its constructor.

    Locks, and what was loaded or opened since it was made, are not part of its state: the copy
    loads or opens its own when it is first used.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), self._arguments())

    def _arguments(self) -> dict[str, Any]:
        """The constructor's arguments; a class that is not a dataclass names its own."""
        own = fields(self)  # type: ignore[arg-type]  # dataclasses only, see above
        return {field.name: getattr(self, field.name) for field in own if field.init}


def _made(cls: type[Any], arguments: dict[str, Any]) -> Any:
    return cls(**arguments)
