# SPDX-License-Identifier: Apache-2.0
"""`FeedbackRetriever`: embed, retrieve, rerank, refine the query, retrieve again."""

from dataclasses import replace
from typing import Any, Literal

from haystack import Document, component, default_from_dict, default_to_dict, logging
from haystack.components.embedders.types import DocumentEmbedder, TextEmbedder
from haystack.components.retrievers.types import EmbeddingRetriever
from haystack.core.serialization import component_to_dict

from rerank_plugins.calls import Batch, Call, Hit, Plan, Replies, Reply, Search
from rerank_plugins.components import check_top_k
from rerank_plugins.components.feedback import (
    EmbedQuery,
    FetchVectors,
    RankHits,
    conclude_feedback,
    feedback_options,
    ranking_of,
    retrieve_with_feedback,
)
from rerank_plugins.errors import UnsupportedCallError
from rerank_plugins.feedback import FeedbackOptions, FeedbackResult
from rerank_plugins.middleware import guarded
from rerank_plugins.plans import arun, run
from rerank_plugins.ranking import Ranking

from ._parts import Composite, run_async, takes

logger = logging.getLogger(__name__)
_PARTS = ("retriever", "ranker", "text_embedder", "document_embedder")


@component
class FeedbackRetriever(Composite):
    """Retrieves, reranks, and lets the reranker teach the query for a second retrieval.

    What the reranker liked among the first documents is distilled into the query's embedding;
    retrieving with that finds relevant documents that were missed. No document is reranked twice.
    Works with any embedding retriever and any ranker.

    ### Usage example

    ```python
    from haystack import Document
    from haystack.components.embedders import MockTextEmbedder
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
    from haystack_integrations.components.retrievers.rerank_plugins import FeedbackRetriever
    from rerank_plugins.testing import Oracle

    store = InMemoryDocumentStore()
    store.write_documents([Document(content=c, embedding=[i, 1.0]) for i, c in enumerate("abcde")])

    retriever = FeedbackRetriever(
        retriever=InMemoryEmbeddingRetriever(store),
        ranker=PluginRanker(strategy="pair-score", backend=Oracle()),
        text_embedder=MockTextEmbedder(dimension=2),
        top_k=3,
    )
    found = retriever.run(query="which letter?")
    print(found["documents"], found["meta"])
    ```
    """

    def __init__(
        self,
        *,
        retriever: EmbeddingRetriever,
        ranker: Any,
        text_embedder: TextEmbedder | None = None,
        document_embedder: DocumentEmbedder | None = None,
        top_k: int | None = 10,
        search_k: int = 100,
        depth: int | None = None,
        method: str | dict[str, Any] = "safe",
        rounds: int = 1,
        rerank_new: bool = True,
        fuse: Literal["head", "rrf", "second"] = "head",
        head: int | None = None,
        return_embedding: bool = False,
        raise_on_failure: bool = False,
    ) -> None:
        """
        Creates a FeedbackRetriever.

        :param retriever: Any embedding retriever. It is asked for embeddings where its `run` has
            ``return_embedding``; a store that returns none needs ``document_embedder``.
        :param ranker: Any ranker: a component with ``run(query, documents)``. Its own ``top_k`` and
            threshold do not drop documents here: those it leaves out come after the others.
        :param text_embedder: Embeds the query, unless `run` is given ``query_embedding``.
        :param document_embedder: Makes the embeddings of documents that come without one. It must
            be the one that the store was filled with.
        :param top_k: How many documents to return at most; all when None.
        :param search_k: How many documents each search retrieves.
        :param depth: How many of those are reranked; all when None. 20 of 100 bring about half of
            the gain.
        :param method: ``"safe"``, ``"bold"``, ``"refit"``, ``"first"``, or a dictionary such as
            ``{"name": "safe", "degrees": 30}``: see `QueryFeedback`.
        :param rounds: How often the query is refined and searched with again.
        :param rerank_new: Rerank what the last search adds, too.
        :param fuse: ``"head"``: reranked documents first, then those of the second search.
            ``"rrf"``: reciprocal rank fusion of both. ``"second"``: the second search alone.
        :param head: How many of the reranked documents come first where ``fuse="head"``; all when
            None.
        :param return_embedding: Leave the embeddings on the documents that are returned.
        :param raise_on_failure: Raise when the ranker or a later search fails, instead of returning
            what the first search found.
        :raises ValueError: An argument is out of range, or the second search could not change the
            result.
        :raises UnknownNameError: There is no such method.
        """
        self.retriever = retriever
        self.ranker = ranker
        self.text_embedder = text_embedder
        self.document_embedder = document_embedder
        self.top_k = top_k
        self.search_k = search_k
        self.depth = depth
        self.method = method
        self.rounds = rounds
        self.rerank_new = rerank_new
        self.fuse = fuse
        self.head = head
        self.return_embedding = return_embedding
        self.raise_on_failure = raise_on_failure
        self._options: FeedbackOptions = feedback_options(
            search_k=search_k,
            depth=depth,
            top_k=top_k,
            method=method,
            rounds=rounds,
            rerank_new=rerank_new,
            fuse=fuse,
            head=head,
            raise_on_failure=raise_on_failure,
        )

    @component.output_types(
        documents=list[Document], query_embedding=list[float], meta=dict[str, Any]
    )
    def run(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
    ) -> dict[str, Any]:
        """Retrieve with feedback.

        :param query: What is asked; the ranker reads it. A blank query is not reranked.
        :param query_embedding: Its embedding, instead of the text embedder's.
        :param filters: For both searches.
        :param top_k: How many documents to return at most, instead of the component's own number.
        :returns: ``documents`` with new scores, ``query_embedding`` (of the last search), and
            ``meta``: ``score_kind`` (``"index"`` where nothing was reranked), ``skipped`` (why
            there was no feedback; empty where there was), ``found_by_feedback``, ``rounds``,
            ``usage``, ``fallback``, ``causes``.
        :raises ValueError: ``top_k`` is not positive, or embeddings differ in their dimensions.
        :raises RerankError: The first search failed; or a part did and ``raise_on_failure`` is set.
        """
        limit, parts = self._limit(top_k), _Parts(self, filters)
        plan = self._plan(query, query_embedding)
        return self._result(run(plan, guarded(parts).run), parts, limit)

    @component.output_types(
        documents=list[Document], query_embedding=list[float], meta=dict[str, Any]
    )
    async def run_async(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
    ) -> dict[str, Any]:
        """`run` without blocking the event loop.

        :param query: As for ``run``.
        :param query_embedding: As for ``run``.
        :param filters: As for ``run``.
        :param top_k: As for ``run``.
        :returns: As for ``run``.
        :raises ValueError: As for ``run``.
        :raises RerankError: As for ``run``.
        """
        limit, parts = self._limit(top_k), _Parts(self, filters)
        plan = self._plan(query, query_embedding)
        found = await arun(plan, guarded(parts).arun, in_threads=True)
        return self._result(found, parts, limit)

    def to_dict(self) -> dict[str, Any]:
        """
        Serializes the component to a dictionary.

        :returns: Dictionary with serialized data.
        """
        held = {name: getattr(self, name) for name in _PARTS}
        return default_to_dict(
            self,
            **{n: None if p is None else component_to_dict(p, n) for n, p in held.items()},
            top_k=self.top_k,
            search_k=self.search_k,
            depth=self.depth,
            method=self.method,
            rounds=self.rounds,
            rerank_new=self.rerank_new,
            fuse=self.fuse,
            head=self.head,
            return_embedding=self.return_embedding,
            raise_on_failure=self.raise_on_failure,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "FeedbackRetriever":
        """
        Deserializes the component from a dictionary.

        :param data: Dictionary to deserialize from.
        :returns: Deserialized component.
        """
        return default_from_dict(cls, data)

    def _parts(self) -> list[Any]:
        held = (getattr(self, name) for name in _PARTS)
        return [part for part in held if part is not None]

    def _limit(self, top_k: int | None) -> int | None:
        check_top_k("top_k", top_k)
        limit = self.top_k if top_k is None else top_k
        self._options.check_useful(limit)
        return limit

    def _plan(self, query: str, query_embedding: list[float] | None) -> Plan[FeedbackResult]:
        embeds = self.document_embedder is not None
        return retrieve_with_feedback(query, query_embedding, self._options, embeds=embeds)

    def _result(self, found: FeedbackResult, parts: "_Parts", limit: int | None) -> dict[str, Any]:
        outcome = conclude_feedback(found, limit)
        if outcome.warning:
            logger.warning("FeedbackRetriever: {warning}", warning=outcome.warning)
        documents = [replace(parts.documents[key], score=score) for key, score in outcome.lines]
        if not self.return_embedding:
            documents = [replace(d, embedding=None) for d in documents]
        return {
            "documents": documents,
            "query_embedding": outcome.vector,
            "meta": outcome.meta,
        }


class _Parts:
    """The parts of a component as a backend, for one run.

    Attributes:
        documents: What was retrieved, by id.
    """

    def __init__(self, held: Any, filters: dict[str, Any] | None) -> None:
        self._held = held
        self._filters = filters
        self.documents: dict[str, Document] = {}

    def run(self, calls: Batch) -> Replies:
        return [
            self._reply(call, part.run(**inputs)) for call, part, inputs in map(self._job, calls)
        ]

    async def arun(self, calls: Batch) -> Replies:
        jobs = [self._job(call) for call in calls]
        return [self._reply(call, await run_async(part, **inputs)) for call, part, inputs in jobs]

    def _job(self, call: Call[Any]) -> tuple[Call[Any], Any, dict[str, Any]]:
        """Which part answers a call, and what it is given."""
        held = self._held
        match call:
            case EmbedQuery(query=query):
                if held.text_embedder is None:
                    raise UnsupportedCallError(
                        "the query has no embedding",
                        hint="Give query_embedding, or a text_embedder to the component.",
                    )
                return call, held.text_embedder, {"text": query}
            case Search(vector=vector, k=k):
                inputs = {"query_embedding": list(vector), "filters": self._filters, "top_k": k}
                if takes(held.retriever, "return_embedding"):
                    inputs["return_embedding"] = True
                return call, held.retriever, inputs
            case RankHits(query=query, hits=hits):
                documents = [self.documents[hit.id] for hit in hits]
                limit = {"top_k": len(hits)} if takes(held.ranker, "top_k") else {}
                return call, held.ranker, {"query": query, "documents": documents, **limit}
            case FetchVectors(hits=hits):
                documents = [self.documents[hit.id] for hit in hits]
                return call, held.document_embedder, {"documents": documents}
            case _:
                raise UnsupportedCallError(f"no part answers a {type(call).__name__}")

    def _reply(self, call: Call[Any], output: dict[str, Any]) -> Reply[Any]:
        match call:
            case EmbedQuery():
                return Reply(output["embedding"])
            case Search():
                return Reply(tuple(self._hit(d) for d in output["documents"]))
            case RankHits(hits=hits):
                return Reply(_ranking(hits, output))
            case FetchVectors(hits=hits):
                made = {d.id: d.embedding or () for d in output["documents"]}
                return Reply([made.get(hit.id, ()) for hit in hits])
            case _:
                raise UnsupportedCallError(f"no part answers a {type(call).__name__}")

    def _hit(self, document: Document) -> Hit:
        self.documents.setdefault(document.id, document)
        return Hit(document.id, document.content or "", document.embedding or (), document.score)


def _ranking(hits: tuple[Hit, ...], output: dict[str, Any]) -> Ranking:
    ranked = output["documents"]
    return ranking_of(
        [hit.id for hit in hits],
        [d.id for d in ranked],
        [d.score for d in ranked],
        output.get("meta"),
    )
