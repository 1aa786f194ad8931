"""Shared parts of backends: batches sorted by kind, and the life of a model in this process."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from .._copies import CopiedByArguments
from .._loading import loading
from .._threads import NOT_ANSWERED, abandoned, renewed_by_forks
from ..calls import Batch, Call, Replies, Reply
from ..errors import BackendError, CallError, PromptTooLongError, UnsupportedCallError

SECRET: Mapping[str, bool] = {"secret": True}
"""Metadata of a dataclass field that must not be written into a spec."""

Answers = Sequence[Reply[Any] | CallError]
Table = Mapping[type[Call[Any]], Callable[[Any], Answers]]
"""The function that answers each kind of call."""

logger = logging.getLogger("rerank_plugins.backends")

C = TypeVar("C", bound=Call[Any])
Q = TypeVar("Q")


def by_kind(calls: Batch, table: Table) -> Replies:
    """Answer a mixed batch with one function per kind of call, keeping the order.

    Raises:
        UnsupportedCallError: ``table`` has no function for a call.

    Examples:
        >>> from rerank_plugins.calls import ScorePair
        >>> by_kind([ScorePair("q", "p")], {ScorePair: lambda calls: [Reply(1.0) for _ in calls]})
        [Reply(answer=1.0, prompt_tokens=0, generated_tokens=0, truncated=())]
    """
    replies: dict[int, Reply[Any] | CallError] = {}
    for kind in dict.fromkeys(map(type, calls)):
        if kind not in table:
            known = ", ".join(sorted(k.__name__ for k in table))
            raise UnsupportedCallError(f"{kind.__name__} is not among {known}")
        where = [i for i, call in enumerate(calls) if type(call) is kind]
        replies.update(zip(where, table[kind]([calls[i] for i in where]), strict=True))
    return [replies[i] for i in range(len(calls))]


def distinct(calls: Batch) -> list[Call[Any]]:
    """Remove repeated calls, keeping the order: equal calls must get equal answers."""
    return list(dict.fromkeys(calls))


def prepared(
    calls: Sequence[C], prepare: Callable[[C], Q]
) -> tuple[dict[int, Q], dict[int, Reply[Any] | CallError]]:
    """Prepare each call, keeping apart the errors of those that cannot be asked.

    Returns:
        What ``prepare`` gave, and the `CallError` it raised, each by the call's position.
    """
    questions: dict[int, Q] = {}
    errors: dict[int, Reply[Any] | CallError] = {}
    for i, call in enumerate(calls):
        try:
            questions[i] = prepare(call)
        except CallError as error:
            errors[i] = error
    return questions, errors


def in_order(replies: Mapping[int, Reply[Any] | CallError], calls: Sized) -> Answers:
    """The replies by the calls' positions; one that is missing was cancelled by the caller."""
    return [replies.get(i) or BackendError(NOT_ANSWERED) for i in range(len(calls))]


def require_room(tokens: int, context: int) -> None:
    """Refuse a prompt that does not fit.

    Args:
        tokens: Of the prompt and its answer.
        context: Tokens that the model takes at most.

    Raises:
        PromptTooLongError: There are more tokens than the model takes.
    """
    if tokens > context:
        raise PromptTooLongError(tokens - context, limit=context)


class Loaded(Protocol):
    """A model that is ready to answer."""

    @property
    def table(self) -> Table:
        """The function that answers each kind of call."""


L = TypeVar("L", bound=Loaded)


class LocalModel(CopiedByArguments, ABC, Generic[L]):
    """A backend whose model runs in this process.

    The model is loaded at the first call or by `warm_up`, and threads take turns. Loading is no
    part of a turn, so that those who wait can tell for which of them they wait. A copy and an
    unpickled backend load their own. A subclass is a dataclass with at least the fields ``model``
    and ``token``; its ``__post_init__`` calls this one.
    """

    model: Any
    token: "str | Callable[[], str | None] | None"
    _shown: ClassVar[tuple[str, ...]] = ("device", "dtype")
    """Fields that ``repr`` shows after the model."""

    def __post_init__(self) -> None:
        """Initialise the state of loading."""
        if isinstance(self.model, Path):
            self.model = str(self.model)
        self._lock = renewed_by_forks(threading.RLock())  # held while the model is loaded
        self._turn = renewed_by_forks(threading.RLock())  # held while it answers; taken first
        self._loaded: L | None = None
        self._warned = False

    def run(self, calls: Batch) -> Replies:
        """Answer a batch. A prompt that does not fit gets a `PromptTooLongError` in its place.

        The first batch with texts that are cut to a limit logs a warning.
        """
        while True:  # once, unless the model is closed while this waits for its turn
            with loading(), self._lock:
                if abandoned():  # while another thread loaded it
                    return in_order({}, calls)
                loaded = self._ready()
            with self._turn:
                if abandoned():
                    return in_order({}, calls)
                if loaded is self._loaded:
                    return self._answered(calls, loaded)

    def _answered(self, calls: Batch, loaded: L) -> Replies:
        once = distinct(calls)
        answers = dict(zip(once, by_kind(once, loaded.table), strict=True))
        cut = sum(bool(getattr(answer, "truncated", ())) for answer in answers.values())
        if cut and not self._warned:
            self._warned = True
            logger.warning(
                "%r: texts of %d of %d calls were cut, and what follows the cut was not read. "
                "The limit is max_tokens of the backend or of the prompt. A ranking's report "
                "names its truncated passages; this warning is not repeated.",
                self,
                cut,
                len(answers),
            )
        return [answers[call] for call in calls]

    def warm_up(self) -> None:
        """Load the model now. Safe to repeat."""
        with loading(), self._lock:
            self._ready()

    def close(self) -> None:
        """Forget the model that was loaded. The next call loads it again. Safe to repeat."""
        with self._turn, self._lock:
            self._loaded = None

    def __repr__(self) -> str:
        name = self.model if isinstance(self.model, str) else type(self.model).__name__
        shown = [repr(name), *(f"{field}={getattr(self, field)!r}" for field in self._shown)]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _ready(self) -> L:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    @abstractmethod
    def _load(self) -> L:
        """Load the model."""

    def _hub_token(self) -> str | None:
        return self.token() if callable(self.token) else self.token
