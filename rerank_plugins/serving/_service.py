"""The reranker behind the application: its readiness, and one ranking within the limits."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from ..ranking import Ranking
from ..reranker import Reranker
from ._admission import Gate
from ._limits import ServiceSettings
from ._problems import Refusal, logger
from ._prometheus import Metrics
from ._schemas import RerankRequest

T = TypeVar("T")


@dataclass(slots=True)
class Service:
    """What an application's routes share.

    Attributes:
        state: ``"starting"`` until the model is warmed up, ``"failed"`` where that failed.
        failure: Why it failed.
        when_failed: Called then, for a server that should end.
    """

    reranker: Reranker
    settings: ServiceSettings
    gate: Gate
    metrics: Metrics
    state: Literal["starting", "ready", "failed", "ending"] = "starting"
    failure: Exception | None = None
    when_failed: Callable[[], None] = field(default=lambda: None)

    async def warm_up(self) -> None:
        """Load the model, and remember how that went."""
        try:
            await self.reranker.awarm_up()
        except Exception as error:  # noqa: BLE001 - the probes tell it, and the server ends
            logger.error("the model cannot be loaded: %s: %s", type(error).__name__, error)
            self.state, self.failure = "failed", error
            self.when_failed()
        else:
            self.state = "ready"

    async def rank(self, request: RerankRequest) -> Ranking:
        """One ranking, in its turn and in time.

        Raises:
            Refusal: It was not done in time.
            RerankError: It failed.
        """
        scope = asyncio.timeout(self.settings.timeout_s)
        try:
            async with scope, self.gate.place():
                ranking = await self.reranker.arank(
                    request.query, request.passages, top_k=request.top_n
                )
        except TimeoutError:
            if not scope.expired():
                raise  # the backend's own
            text = f"the ranking took longer than {self.settings.timeout_s:g} seconds"
            raise Refusal(504, text, retry_after_s=self.settings.retry_after_s) from None
        self.metrics.ranked(ranking, len(request.documents))
        return ranking


async def while_connected(work: Awaitable[T], receive: Receive) -> T:
    """The result of ``work``, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: It did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
    return task.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
