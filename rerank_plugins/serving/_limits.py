"""What a service allows."""

import math
from dataclasses import dataclass, fields

from ..errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The limits of a service, and the names it answers to.

    Args:
        model: What the model is called in requests and answers.
        aliases: Other names under which clients may ask for it, such as ``rerank-v3.5`` for a
            client that cannot be told another one. Any further name is refused with 404.
        max_documents: Documents of one request.
        max_query_chars: Characters of a query.
        max_document_chars: Characters of a document.
        max_body_bytes: Bytes of a request. A longer one is refused without being kept, whether it
            announces its length or not.
        max_concurrency: Rankings at once.
        max_queue: Requests that may wait for a place; the next one is refused with 429.
        timeout_s: Seconds from a request's arrival to its ranking; then it is given up with 504.
            `Limits` with a shorter time and ``on_error="keep_order"`` give a fallback instead.
        read_timeout_s: Seconds in which a request's body must have arrived.
        retry_after_s: What a client that is refused for the time being is told to wait, in seconds.
        grace_s: Seconds that requests under way get when the service is told to end.

    Raises:
        InputError: A value is out of range.

    Examples:
        >>> ServiceSettings(max_queue=0).max_concurrency
        4
        >>> ServiceSettings(timeout_s=0)
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: timeout_s is 0, expected a positive number
    """

    model: str = "reranker"
    aliases: tuple[str, ...] = ()
    max_documents: int = 1_000
    max_query_chars: int = 10_000
    max_document_chars: int = 100_000
    max_body_bytes: int = 8 * 2**20
    max_concurrency: int = 4
    max_queue: int = 64
    timeout_s: float = 60.0
    read_timeout_s: float = 30.0
    retry_after_s: int = 1
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        if isinstance(self.aliases, str):
            raise InputError(f"aliases is {self.aliases!r}", hint="Give a tuple of names.")
        object.__setattr__(self, "aliases", tuple(self.aliases))
        for name in self.names:
            if not str(name).strip() or type(name) is not str:
                raise InputError(f"a model is called {name!r}", hint="Give it a name.")
        for field in fields(self):
            if field.type in (int, float):
                _check_number(field.name, getattr(self, field.name), whole=field.type is int)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that requests may use."""
        return (self.model, *self.aliases)


def _check_number(name: str, value: object, *, whole: bool) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        what = "a whole number" if whole else "a number"
        raise InputError(f"{name} is {value!r}, expected {what}")
    if name == "max_queue":
        if value < 0:
            raise InputError(f"{name} is {value}, expected 0 or more")
    elif value <= 0:
        raise InputError(f"{name} is {value}, expected a positive number")
