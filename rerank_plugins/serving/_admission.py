"""Who gets in, and who ranks: two counts for the whole service."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from ._limits import ServiceSettings
from ._problems import Refusal


class Gate:
    """Lets a bounded number of requests in, and a smaller number of them rank at once.

    Requests are counted from before their body is read, so what waits takes bounded memory.

    Attributes:
        inside: Requests that were let in and are not answered yet.
        ranking: Those of them that have a place to rank.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._retry_after_s = settings.retry_after_s
        self._capacity = settings.max_concurrency + settings.max_queue
        self._places = asyncio.Semaphore(settings.max_concurrency)
        self.inside = 0
        self.ranking = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside.

        Raises:
            Refusal: The service is full.
        """
        if self.inside >= self._capacity:
            text = f"{self.inside} requests are under way or waiting, and no more are taken"
            raise Refusal(429, text, retry_after_s=self._retry_after_s)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place to rank, first come, first served, and hold it."""
        async with self._places:
            self.ranking += 1
            try:
                yield
            finally:
                self.ranking -= 1
