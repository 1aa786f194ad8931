"""What a backend is, and how to call one from either colour of code."""

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from .calls import Batch, Replies
from .errors import ConfigurationError


@runtime_checkable
class Backend(Protocol):
    """Answers calls. For type checking only: nothing to subclass.

    A backend may also have ``kinds`` (the frozenset of call kinds it answers, checked when a
    `Reranker` is built), ``warm_up()`` and ``close()``.
    """

    def run(self, calls: Batch) -> Replies:
        """Answer every call, in order.

        A batch says what *may* run together; chunking and concurrency are the backend's. One
        call in trouble is answered by a `CallError` in its place; anything else is raised.
        """
        ...


@runtime_checkable
class AsyncBackend(Protocol):
    """Answers calls on an event loop. A backend may have ``run``, ``arun`` or both."""

    async def arun(self, calls: Batch) -> Replies:
        """`Backend.run`, asynchronously. Never blocks the loop."""
        ...


AnyBackend = Backend | AsyncBackend


def is_async(backend: AnyBackend) -> bool:
    """Whether the backend is asynchronous by nature, not through a thread."""
    inner = getattr(backend, "inner", None)
    return isinstance(backend, AsyncBackend) if inner is None else is_async(inner)


def sync_handler(backend: AnyBackend) -> Callable[[Batch], Replies]:
    """The backend's ``run``.

    Raises:
        ConfigurationError: It has none. (No event loop is started behind the caller's back:
            that breaks in notebooks and servers.)
    """
    if isinstance(backend, Backend):
        return backend.run
    raise ConfigurationError(
        f"{type(backend).__name__} is asynchronous only",
        hint="Use arank or arank_many, or a backend that has run.",
    )


def async_handler(backend: AnyBackend) -> Callable[[Batch], Awaitable[Replies]]:
    """The backend's ``arun``, or its ``run`` in a thread so that the loop goes on."""
    if isinstance(backend, AsyncBackend):
        return backend.arun
    import asyncio  # imported here: half of the library's import time, and sync users need none

    async def in_thread(calls: Batch) -> Replies:
        return await asyncio.to_thread(backend.run, calls)

    return in_thread
