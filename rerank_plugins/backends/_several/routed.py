"""One backend made of several, for plans whose stages need different models, or an index."""

from dataclasses import dataclass
from typing import Any

from ...calls import Batch, Call, Embed, Replies, ScorePair, Search
from ...errors import UnsupportedCallError
from ...handlers import AnyBackend, OwnedBackends, async_handler, sync_handler


@dataclass(frozen=True, kw_only=True)
class Routed(OwnedBackends):
    """Sends `ScorePair` calls to one backend, `Search` to an index, and all others to a third.

    For a `Cascade` of a cross-encoder and a language model, and for relevance feedback.

    Args:
        pairs: Answers `ScorePair`; None if no such call is made.
        text: Answers every other kind.
        search: Answers `Search`; None if no such call is made.
        vectors: Answers `Embed`; ``text`` does when None.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.strategies import Cascade, PairScore, SingleToken
        >>> from rerank_plugins.testing import Oracle
        >>> backend = Routed(pairs=Oracle(seed=1), text=Oracle(seed=2))
        >>> cascade = Cascade(first=PairScore(), then=SingleToken(), depth=2)
        >>> len(Reranker(cascade, backend).rank("q", ["a", "b", "c"]))
        3
    """

    pairs: AnyBackend | None = None
    text: AnyBackend
    search: AnyBackend | None = None
    vectors: AnyBackend | None = None

    @property
    def members(self) -> tuple[AnyBackend, ...]:
        """Every backend inside, once."""
        found: list[AnyBackend] = []
        for backend in (self.pairs, self.text, self.search, self.vectors):
            if backend is not None and not any(backend is other for other in found):
                found.append(backend)
        return tuple(found)

    @property
    def kinds(self) -> frozenset[type[Call[Any]]] | None:
        """The kinds of call that they answer together; None if one does not declare its kinds."""
        none = frozenset[type[Call[Any]]]()
        pairs = none if self.pairs is None else getattr(self.pairs, "kinds", None)
        text = getattr(self.text, "kinds", None)
        vectors = getattr(self.vectors or self.text, "kinds", None)
        if pairs is None or text is None or vectors is None:
            return None
        found = none if self.search is None else {Search}
        others = text - {ScorePair, Search, Embed}
        return frozenset((pairs & {ScorePair}) | others | (vectors & {Embed}) | found)

    def run(self, calls: Batch) -> Replies:
        """Answer a batch."""
        replies = dict[int, Any]()
        for backend, where in self._parts(calls):
            found = sync_handler(backend)([calls[i] for i in where])
            replies.update(zip(where, found, strict=True))
        return [replies[i] for i in range(len(calls))]

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop: all backends at the same time."""
        import asyncio  # imported here: sync users need none

        parts = self._parts(calls)
        asked = [async_handler(backend)([calls[i] for i in where]) for backend, where in parts]
        replies = dict[int, Any]()
        for (_, where), found in zip(parts, await asyncio.gather(*asked), strict=True):
            replies.update(zip(where, found, strict=True))
        return [replies[i] for i in range(len(calls))]

    def _parts(self, calls: Batch) -> list[tuple[AnyBackend, list[int]]]:
        """Each backend that is asked something, and the places of its calls."""
        routes = {ScorePair: self.pairs, Search: self.search, Embed: self.vectors or self.text}
        parts: list[tuple[AnyBackend, list[int]]] = []
        for i, call in enumerate(calls):
            backend = routes.get(type(call), self.text)
            if backend is None:
                name = "pairs" if type(call) is ScorePair else "search"
                raise UnsupportedCallError(
                    f"{type(call).__name__} has no backend", hint=f"Give {name}=... too."
                )
            places = next((where for known, where in parts if known is backend), None)
            if places is None:
                parts.append((backend, [i]))
            else:
                places.append(i)
        return parts
