"""Wrappers around a backend, each written once for synchronous and asynchronous code.

A layer is a plan: it is given a batch, yields the calls that the backend shall answer, and returns
the replies. A pause is a call too: a `_Wait`, slept through with `time.sleep` or `asyncio.sleep`.
"""

import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from .._checks import at_least
from .._copies import CopiedByArguments
from .._threads import renewed_by_forks
from ..calls import Batch, Call, Generate, Plan, Replies, Reply, with_cost
from ..errors import CallError
from ..handlers import (
    LONGEST_WAIT_S,
    AnyBackend,
    OwnedBackends,
    async_handler,
    failure,
    requested_wait_s,
    sync_handler,
)
from ..plans import arun, run

Exchange = Callable[[Batch], Plan[Replies]]


@dataclass(frozen=True, slots=True)
class _Wait(Call[None]):
    seconds: float


class Layer(OwnedBackends):
    """A backend behind a layer, with the life cycle of the backend inside.

    Args:
        inner: The backend that answers.
        exchange: Returns the plan that turns a batch into its replies.
    """

    def __init__(self, inner: AnyBackend, exchange: Exchange) -> None:
        self.inner = inner
        self._exchange = exchange

    def run(self, calls: Batch) -> Replies:
        """Answer the batch through the layer."""
        handle = sync_handler(self.inner)

        def answer(batch: Batch) -> Replies:
            if isinstance(batch[0], _Wait):
                time.sleep(batch[0].seconds)
                return [Reply(None)]
            return handle(batch)

        return run(self._exchange(calls), answer)

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        import asyncio  # imported here: sync users need none

        handle = async_handler(self.inner)

        async def answer(batch: Batch) -> Replies:
            if isinstance(batch[0], _Wait):
                await asyncio.sleep(batch[0].seconds)
                return [Reply(None)]
            return await handle(batch)

        return await arun(self._exchange(calls), answer)

    @property
    def members(self) -> tuple[AnyBackend, ...]:
        """The backend inside."""
        return (self.inner,)

    @property
    def kinds(self) -> frozenset[type[Call[Any]]] | None:
        """The kinds of call that the backend inside answers; None if it does not declare them."""
        return getattr(self.inner, "kinds", None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


def cached(
    backend: AnyBackend,
    store: MutableMapping[Call[Any], Reply[Any]] | None = None,
    *,
    max_entries: int = 10_000,
) -> Layer:
    """Ask each question once. A cached answer costs no tokens; failures are not cached.

    Args:
        backend: The backend to wrap. A cache belongs to one model: don't share ``store``.
        store: Any mutable mapping that keeps the answers; a new dictionary by default.
        max_entries: Maximum number of entries; the oldest are removed first.

    Raises:
        InputError: ``max_entries`` is below 1.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import SingleToken
        >>> from rerank_plugins.testing import Oracle
        >>> model = Oracle()
        >>> reranker = Reranker(SingleToken(), cached(model))
        >>> reranker.rank("q", ["a", "b"]) == reranker.rank("q", ["a", "b"])
        False
        >>> len(model.asked)
        1
    """
    at_least(1, max_entries=max_entries)
    return Layer(backend, _Cache({} if store is None else store, max_entries))


@dataclass(eq=False)
class _Cache(CopiedByArguments):
    store: MutableMapping[Call[Any], Reply[Any]]
    max_entries: int

    def __post_init__(self) -> None:
        self._lock = renewed_by_forks(threading.Lock())

    def __call__(self, calls: Batch) -> Plan[Replies]:
        kept = self.store
        with self._lock:
            known = {call: kept[call] for call in calls if call in kept}
        asker: dict[Call[Any], int] = {}  # the position that asks for all its equals
        asking = [
            i
            for i, call in enumerate(calls)
            if not _repeatable(call) or (call not in known and asker.setdefault(call, i) == i)
        ]
        replies = (yield [calls[i] for i in asking]) if asking else []
        fresh = dict(zip(asking, replies, strict=True))
        with self._lock:
            for call, i in asker.items():
                if isinstance(reply := fresh[i], Reply):
                    kept[call] = reply
            while len(kept) > self.max_entries:
                del kept[next(iter(kept))]
        return [
            fresh[i] if i in fresh else _free(known[c] if c in known else fresh[asker[c]])
            for i, c in enumerate(calls)
        ]


def _free(reply: Reply[Any] | CallError) -> Reply[Any] | CallError:
    return with_cost(reply, -reply.prompt_tokens, -reply.generated_tokens)


def _repeatable(call: Call[Any]) -> bool:
    return not (isinstance(call, Generate) and call.temperature > 0 and call.seed is None)


def retried(
    backend: AnyBackend,
    *,
    attempts: int = 3,
    base_delay_s: float = 0.5,
    max_delay_s: float = 30.0,
    seed: int = 0,
) -> Layer:
    """Repeat the calls that failed and may succeed, with growing pauses.

    Only calls with a ``retryable`` error are repeated. A server's own ``retry_after_s`` is obeyed
    up to a minute; a call whose server asks for more is not repeated.
    Retries multiply: around an `OpenAIBackend`, each attempt here makes up to that backend's own
    ``attempts`` requests.

    Args:
        backend: The backend to wrap.
        attempts: Maximum number of attempts for each call, the first one included.
        base_delay_s: The first pause in seconds; it doubles each time, with jitter.
        max_delay_s: The longest pause in seconds, unless the server asks for a longer one.
        seed: Seed of the jitter.

    Raises:
        InputError: ``attempts`` is below 1, or a delay is negative.
    """
    at_least(1, attempts=attempts)
    at_least(0.0, base_delay_s=base_delay_s, max_delay_s=max_delay_s)
    return Layer(backend, _Retry(attempts, base_delay_s, max_delay_s, seed))


@dataclass(eq=False)
class _Retry(CopiedByArguments):
    attempts: int
    base_delay_s: float
    max_delay_s: float
    seed: int

    def __post_init__(self) -> None:
        import random  # imported here: slow, and only this layer needs it

        self._jitter = random.Random(self.seed)  # noqa: S311 - spreads requests, no cryptography

    def __call__(self, calls: Batch) -> Plan[Replies]:
        replies = list((yield calls)) if calls else []
        for attempt in range(1, self.attempts):
            failed = [
                i
                for i, r in enumerate(replies)
                if isinstance(r, CallError)
                and r.retryable
                and requested_wait_s(r) <= LONGEST_WAIT_S
            ]
            if not failed:
                break
            longest = min(self.base_delay_s * 2 ** (attempt - 1), self.max_delay_s)
            own = longest * self._jitter.uniform(0.5, 1.0)
            asked = [requested_wait_s(replies[i]) for i in failed]
            yield [_Wait(max(own, *asked))]
            again = yield [calls[i] for i in failed]
            for i, reply in zip(failed, again, strict=True):
                before = replies[i]
                replies[i] = with_cost(reply, before.prompt_tokens, before.generated_tokens)
        return replies


class Guarded(Layer):
    """A backend whose exceptions become replies. Made by `guarded`."""

    def __init__(self, inner: AnyBackend) -> None:
        super().__init__(inner, _unchanged)

    # Not a plan: a plan does not see the exceptions of the backend that answers it.
    def run(self, calls: Batch) -> Replies:
        """Answer the batch; an exception is the reply to each of its calls."""
        try:
            return sync_handler(self.inner)(calls)
        except Exception as error:  # noqa: BLE001 - it is the reply
            return [failure(error) for _ in calls]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        try:
            return await async_handler(self.inner)(calls)
        except Exception as error:  # noqa: BLE001 - it is the reply
            return [failure(error) for _ in calls]


def guarded(backend: AnyBackend) -> Guarded:
    """Turn an exception of a backend into a `BackendError` for each call of the batch.

    For applications that must always answer: with ``on_error="keep_order"``, a bug in the backend
    then costs the order and not the request. The library's own errors about a wrong set-up
    (`ConfigurationError`, `ContractError`) are still raised.

    Args:
        backend: The backend to wrap.

    Examples:
        >>> from rerank_plugins.calls import ScorePair
        >>> class Broken:
        ...     def run(self, calls):
        ...         raise RuntimeError("out of memory")
        >>> guarded(Broken()).run([ScorePair("query", "passage")])
        [BackendError('the backend raised RuntimeError: out of memory')]
    """
    return Guarded(backend)


class Span(Protocol):
    """The part of OpenTelemetry's spans that tracing needs."""

    def set_attribute(self, key: str, value: Any) -> Any:
        """Attach a value."""
        ...


class Tracer(Protocol):
    """The part of OpenTelemetry's tracers that tracing needs."""

    def start_as_current_span(
        self, name: str, *, attributes: Mapping[str, Any]
    ) -> AbstractContextManager[Span]:
        """Open a span for the duration of a ``with`` block."""
        ...


class Traced(Layer):
    """A backend whose batches are spans. Made by `traced`."""

    def __init__(self, inner: AnyBackend, tracer: Tracer) -> None:
        super().__init__(inner, _unchanged)
        self._tracer = tracer

    # Not a plan: a context variable that is set in a generator leaks into its caller.
    def run(self, calls: Batch) -> Replies:
        """Answer the batch inside a span."""
        with self._span(calls) as span:
            return _annotated(span, sync_handler(self.inner)(calls))

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        with self._span(calls) as span:
            return _annotated(span, await async_handler(self.inner)(calls))

    def _span(self, calls: Batch) -> AbstractContextManager[Span]:
        kinds = sorted({type(c).__name__ for c in calls})
        attributes = {"rerank.calls": len(calls), "rerank.kinds": kinds}
        return self._tracer.start_as_current_span("rerank.batch", attributes=attributes)


def traced(backend: AnyBackend, tracer: Tracer) -> Traced:
    """Open a span for each batch, with call counts, token usage and failures; never with texts.

    Args:
        backend: The backend to wrap.
        tracer: An OpenTelemetry tracer, or anything with ``start_as_current_span``.
    """
    return Traced(backend, tracer)


def _unchanged(calls: Batch) -> Plan[Replies]:
    return (yield calls)


def _annotated(span: Span, replies: Replies) -> Replies:
    span.set_attribute("gen_ai.usage.input_tokens", sum(r.prompt_tokens for r in replies))
    span.set_attribute("gen_ai.usage.output_tokens", sum(r.generated_tokens for r in replies))
    span.set_attribute("rerank.failed_calls", sum(isinstance(r, CallError) for r in replies))
    return replies
