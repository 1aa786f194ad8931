"""`FeedbackSearch`: an index, a reranker and feedback, the object that applications hold."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .._checks import known_keys, listed
from .._runner import ASYNC_QUERIES, Runner, results_of
from .._threads import off_loop
from ..backends import Routed
from ..calls import Embed, Hit, Plan
from ..errors import InputError, UnsupportedCallError
from ..handlers import AnyBackend
from ..ranking import Usage
from ..reranker import Reranker
from ._e2rank import E2Rank
from ._options import FeedbackOptions, FeedbackResult, Vector
from ._refine import find_method
from ._search import ranked_by, search_with_feedback
from ._word_search import search_with_words

Encode = Callable[[str], Vector]


class FeedbackSearch:
    """Search an index, rerank, refine the query by the reranker's opinion, search again.

    Args:
        index: Answers `Search` calls: a `FaissIndex`, or a backend of your own; with
            ``expand="words"`` a `BM25Index`, or a `TextSearch` around a search of your own.
        reranker: Ranks the hits. Its ``on_error`` and limits apply to the searches, too.
        encode: Makes the query's vector from its text, like the vectors of the passages.
        embedder: Answers `Embed` calls, which ``method="e2rank"`` asks: an `EmbeddingBackend` of
            the model that made the index's vectors. The reranker's own backend when None.
        options: Fields of `FeedbackOptions`.

    Raises:
        InputError: An option is unknown or out of range.
        UnsupportedCallError: The method is ``"e2rank"``, and nothing answers `Embed`.

    Examples:
        >>> import numpy as np
        >>> from rerank_plugins.feedback import FaissIndex
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> vectors = np.random.default_rng(0).normal(size=(500, 8))
        >>> ids = [str(i) for i in range(500)]
        >>> relevance = vectors @ (vectors[0] + vectors[1])  # what the user means
        >>> model = Oracle(key=lambda query, passage: relevance[int(passage)])
        >>> index = FaissIndex.build(vectors, ids=ids, texts=ids)
        >>> searcher = FeedbackSearch(index, Reranker(PairScore(), model), k=50)
        >>> found = searcher.search("a question", vectors[0])
        >>> found.skipped, found.usage.searches, found.usage.calls == len(found.hits) > 50
        ('', 2, True)
    """

    def __init__(
        self,
        index: AnyBackend,
        reranker: Reranker,
        *,
        encode: Encode | None = None,
        embedder: AnyBackend | None = None,
        **options: Any,
    ) -> None:
        known_keys("FeedbackSearch", options, FeedbackOptions.__slots__)
        self.index, self.reranker, self.encode = index, reranker, encode
        self.options = FeedbackOptions(**{"on_error": reranker.on_error, **options})
        # Its own reranker: the options may ask for another policy than the one that was given.
        judge = Reranker(reranker.strategy, reranker.backend, on_error=self.options.on_error)
        self._rank = ranked_by(judge.effective_strategy)
        model = reranker.backend
        backend = Routed(pairs=model, text=model, search=index, vectors=embedder)
        words = self.options.expand == "words"
        asks = not words and isinstance(find_method(self.options.method), E2Rank)
        if asks and backend.kinds is not None and Embed not in backend.kinds:
            raise UnsupportedCallError(
                f"{model!r} gives no vectors, which the method e2rank asks for",
                hint="Give embedder=EmbeddingBackend(...) of the model that made the index.",
            )
        self._runner = Runner(backend, reranker.limits)

    def search(
        self, query: str, vector: Vector | None = None, *, first: Sequence[Hit] | None = None
    ) -> FeedbackResult:
        """Search, rerank, refine the query and search again.

        Args:
            query: The query.
            vector: Its vector, shape ``(dim,)``; made by ``encode`` when None. None is needed where
                the search is by words.
            first: The hits of another first stage, such as BM25's, best first, instead of a search:
                see `FaissIndex.hits`.

        Raises:
            InputError: The vector is missing, or has another dimension than the index.
            CallError: A call failed and ``on_error`` is ``"raise"``.
        """
        plan = self.plan(query, self._encoded(query) if vector is None else vector, first=first)
        return self._runner.run(plan)

    async def asearch(
        self, query: str, vector: Vector | None = None, *, first: Sequence[Hit] | None = None
    ) -> FeedbackResult:
        """`search`, without blocking the event loop."""
        if vector is None:
            vector = await off_loop(lambda: self._encoded(query))
        return await self._runner.arun(self.plan(query, vector, first=first))

    def search_many(
        self, queries: Sequence[str], vectors: Sequence[Vector] | None = None
    ) -> list[FeedbackResult]:
        """`search` for many queries together: index and model get common batches."""
        queries = listed("queries", queries)
        if vectors is None:
            vectors = [self._encoded(query) for query in queries]
        return results_of(self._runner.settle_many(self._plans(queries, vectors)))

    async def asearch_many(
        self,
        queries: Sequence[str],
        vectors: Sequence[Vector] | None = None,
        *,
        max_concurrency: int = ASYNC_QUERIES,
    ) -> list[FeedbackResult]:
        """`search_many`, without blocking the event loop.

        Args:
            queries: The queries.
            vectors: Their vectors; made by ``encode``, in a thread, when None.
            max_concurrency: How many are under way at once where index and model are asynchronous.
        """
        queries = listed("queries", queries)
        if vectors is None:
            vectors = await off_loop(lambda: [self._encoded(query) for query in queries])
        plans = self._plans(queries, vectors)
        return results_of(await self._runner.asettle_many(plans, max_concurrency))

    def _plans(
        self, queries: Sequence[str], vectors: Sequence[Vector]
    ) -> list[Plan[FeedbackResult]]:
        queries, vectors = list(queries), list(vectors)
        if len(vectors) != len(queries):
            raise InputError(f"there are {len(queries)} queries and {len(vectors)} vectors")
        return [self.plan(q, v) for q, v in zip(queries, vectors, strict=True)]

    def plan(
        self, query: str, vector: Vector, *, first: Sequence[Hit] | None = None
    ) -> Plan[FeedbackResult]:
        """The plan of one query, for those who run plans themselves.

        Raises:
            InputError: The search is by words, and a vector or another first stage was given.
        """
        if self.options.expand != "words":
            plan = search_with_feedback(
                query, vector, rank=self._rank, options=self.options, first=first
            )
        elif len(vector) or first is not None:
            raise InputError("a search with expand='words' takes neither vector nor first")
        else:
            plan = search_with_words(query, rank=self._rank, options=self.options)
        return _with_usage(self._runner.counted(plan))

    def _encoded(self, query: str) -> Vector:
        if self.options.expand == "words":
            return ()
        if self.encode is None:
            raise InputError("the query has no vector", hint="Give vector=..., or encode=... once.")
        return self.encode(query)


def _with_usage(plan: Plan[tuple[FeedbackResult, Usage]]) -> Plan[FeedbackResult]:
    found, usage = yield from plan
    return replace(found, usage=usage)
