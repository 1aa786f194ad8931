"""The time in which models are loaded: no part of a ranking's own seconds."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class LoadingWatch:
    """Runs while one model or several are loaded for a piece of work, in whatever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loadings, self._since, self._spent = 0, 0.0, 0.0

    @property
    def seconds(self) -> float:
        """The seconds until now; those of a loading that is under way are among them."""
        with self._lock:
            running = time.perf_counter() - self._since if self._loadings else 0.0
            return self._spent + running

    def count(self, change: int) -> None:
        """Note that a loading begins (1) or ends (-1)."""
        with self._lock:
            now = time.perf_counter()
            if self._loadings:
                self._spent += now - self._since
            self._since = now
            self._loadings += change


_watches: ContextVar[tuple[LoadingWatch, ...]] = ContextVar("watches", default=())
"""The watches of this work, of the work that it is a part of, and so on."""


@contextmanager
def watch_loading() -> Iterator[LoadingWatch]:
    """Yield a watch that runs whenever the work in the block loads a model, or waits for that."""
    watch = LoadingWatch()
    token = _watches.set((*_watches.get(), watch))
    try:
        yield watch
    finally:
        _watches.reset(token)


def present_watch() -> LoadingWatch:
    """The watch of this work; one that never runs, where nobody watches."""
    return (_watches.get() or (LoadingWatch(),))[-1]


@contextmanager
def loading() -> Iterator[None]:
    """Say that the block loads a model, or waits for another thread that does.

    Its time is then `Usage.loading_seconds` of the rankings that need the model, and no part of
    their ``seconds``. It is found in the thread that calls the backend, and in threads to which
    the backend gives a copy of its context (`contextvars.copy_context`).

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.calls import Reply
        >>> from rerank_plugins.strategies import PairScore
        >>> import time
        >>> class Slow:
        ...     model = None
        ...     def run(self, calls):
        ...         with loading():
        ...             if self.model is None:
        ...                 time.sleep(0.1)
        ...                 self.model = len
        ...         return [Reply(float(self.model(call.passage))) for call in calls]
        >>> usage = Reranker(PairScore(), Slow()).rank("query", ["a", "bb"]).usage
        >>> usage.loading_seconds > 0.09 > usage.seconds
        True
    """
    watches = _watches.get()
    for watch in watches:
        watch.count(1)
    try:
        yield
    finally:
        for watch in watches:
            watch.count(-1)
