"""The service behind the routes: its limits, its queue, its counters, and one ranking."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from .._checks import at_least
from ..errors import InputError
from ..ranking import Ranking
from ..reranker import Reranker
from ._asked import watched
from ._problems import Refusal, logger
from ._schemas import Asked, RerankRequest

T = TypeVar("T")

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the latency histogram in seconds: from small cross-encoders to reasoning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The limits of a service, and its names.

    Args:
        model: The model's name in requests and answers.
        aliases: Other names that requests may use, such as ``rerank-v3.5`` for a client whose
            model name is fixed.
        strict: Refuse all other names with 404. By default a request with another name is answered
            by the one model there is, and ``meta.warnings`` says so.
        page: Whether there are pages for people, ``/`` and ``/docs``, and whether requests may ask
            with ``explain`` for the prompts of the model.
        max_documents: Documents of a request at most.
        max_query_chars: Characters of a query at most.
        max_document_chars: Characters of a document at most.
        max_body_bytes: Bytes of a request at most. A longer one is refused without being kept,
            whether it announces its length or not.
        max_concurrency: Rankings at the same time.
        max_queue: Requests that may wait for a ranking; the next one is refused with 429.
        timeout_s: Seconds from a request's arrival to its ranking; after that, the answer is 504.
            `Limits` with a shorter time and ``on_error="keep_order"`` give a fallback instead.
        max_connections: Connections at most under `serve`, which takes no more than three quarters
            of the files that the process may open. One more closes the connection that has been
            without a request for the longest time.
        read_timeout_s: Seconds in which a request's body must arrive. Under `serve`, also those in
            which the header of a connection's next request must arrive, and its last answer must
            be taken; then the connection is closed.
        retry_after_s: Seconds that a client should wait after a refusal that may pass.
        grace_s: Seconds that requests under way get when the service ends.

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
    strict: bool = False
    page: bool = True
    max_documents: int = 1_000
    max_query_chars: int = 10_000
    max_document_chars: int = 100_000
    max_body_bytes: int = 8 * 2**20
    max_concurrency: int = 4
    max_queue: int = 64
    max_connections: int = 1_000
    timeout_s: float = 60.0
    read_timeout_s: float = 30.0
    retry_after_s: int = 1
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        if isinstance(self.aliases, str):
            raise InputError(f"aliases is {self.aliases!r}", hint="Give a tuple of names.")
        object.__setattr__(self, "aliases", tuple(self.aliases))
        for name in self.names:
            if not (type(name) is str and name.strip()):
                raise InputError(f"a model's name is {name!r}, expected a string that is not blank")
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type is int and value is not None:
                at_least(0 if one.name == "max_queue" else 1, **{one.name: value})
            elif one.type in (int, float):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if not number or not 0 < value < math.inf:
                    raise InputError(f"{one.name} is {value!r}, expected a positive number")

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that requests may use."""
        return (self.model, *self.aliases)


class Gate:
    """Admits a limited number of requests, of which a smaller number ranks at the same time.

    Requests are counted before their bodies are read, so waiting requests take bounded memory.

    Attributes:
        inside: Admitted requests that are not answered yet.
        ranking: Those of them that are being ranked.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._retry_after_s = settings.retry_after_s
        self._capacity = settings.max_concurrency + settings.max_queue
        self._places = asyncio.Semaphore(settings.max_concurrency)
        self.inside = 0
        self.ranking = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Admit a request for the time of the block.

        Raises:
            Refusal: The service is full.
        """
        if self.inside >= self._capacity:
            text = f"{self.inside} requests are under way or waiting: the service is full"
            raise Refusal(429, text, retry_after_s=self._retry_after_s)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place to rank, first come, first served, and hold it during the block."""
        async with self._places:
            self.ranking += 1
            try:
                yield
            finally:
                self.ranking -= 1


class Metrics:
    """The Prometheus counters of one application, in a registry of its own.

    Args:
        gate: The gate whose counts are shown as gauges.
    """

    def __init__(self, gate: Gate) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by path and status", "path", "status")
        self._seconds = Histogram(
            "rerank_request_seconds",
            "Seconds from a rerank request's headers to its answer, refusals included",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._documents = self._counter("documents", "Documents ranked")
        self._tokens = self._counter("tokens", "Tokens the model read and wrote", "kind")
        self._calls = self._counter("model_calls", "Questions put to the model")
        self._fallbacks = self._counter("fallbacks", "Rankings that fell back, wholly or in part")
        inside = Gauge(
            "rerank_requests_in_flight", "Requests let in, waiting ones too", registry=self.registry
        )
        inside.set_function(lambda: gate.inside)
        ranking = Gauge("rerank_rankings_in_flight", "Rankings under way", registry=self.registry)
        ranking.set_function(lambda: gate.ranking)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"rerank_{name}", about, labels, registry=self.registry)

    def answered(self, path: str, status: int, seconds: float | None) -> None:
        """Count an answer; ``seconds`` is its latency if it was a rerank request."""
        self._requests.labels(path, str(status)).inc()
        if seconds is not None:
            self._seconds.observe(seconds)

    def ranked(self, ranking: Ranking, documents: int) -> None:
        """Count a ranking of so many documents."""
        self._documents.inc(documents)
        self._tokens.labels("prompt").inc(ranking.usage.prompt_tokens)
        self._tokens.labels("generated").inc(ranking.usage.generated_tokens)
        self._calls.inc(ranking.usage.calls)
        self._fallbacks.inc(ranking.report.fallback)


@dataclass(slots=True)
class Service:
    """The reranker with its limits, counters and state: an application's routes share it.

    Attributes:
        state: ``"starting"`` until the model is warmed up, ``"failed"`` if that failed.
        failure: The error of a failed warm-up.
        when_failed: Called after a failed warm-up; a server ends then.
    """

    reranker: Reranker
    settings: ServiceSettings
    gate: Gate
    metrics: Metrics
    state: Literal["starting", "ready", "failed", "ending"] = "starting"
    failure: Exception | None = None
    when_failed: Callable[[], None] = field(default=lambda: None)

    async def warm_up(self) -> None:
        """Load the model, and note the state that results."""
        try:
            await self.reranker.awarm_up()
        except Exception as error:  # noqa: BLE001 - the probes report it, and the server ends
            logger.error("the model cannot be loaded: %s: %s", type(error).__name__, error)
            self.state, self.failure = "failed", error
            self.when_failed()
        else:
            self.state = "ready"

    async def rank(self, request: RerankRequest, asked: list[Asked] | None = None) -> Ranking:
        """Rank when there is a place, within the time limit.

        Args:
            request: The request.
            asked: A list that gets the calls to the model, if not None.

        Raises:
            Refusal: The time limit passed.
            RerankError: The ranking failed.
        """
        scope = asyncio.timeout(self.settings.timeout_s)
        reranker = self.reranker if asked is None else watched(self.reranker, asked)
        try:
            async with scope, self.gate.place():
                ranking = await reranker.arank(
                    request.query, request.passages, instruction=request.instruction
                )
        except TimeoutError:
            if not scope.expired():
                raise  # the backend's own
            text = f"the ranking took longer than {self.settings.timeout_s:g} seconds"
            raise Refusal(504, text, retry_after_s=self.settings.retry_after_s) from None
        self.metrics.ranked(ranking, len(request.documents))
        return request.cut.of(ranking).top(request.top_n)


async def while_connected(work: Awaitable[T], receive: Receive) -> T:
    """The result of ``work``, which is cancelled if the client disconnects.

    Raises:
        ClientDisconnect: The client disconnected.
    """

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
    return task.result()
