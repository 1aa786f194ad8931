# SPDX-License-Identifier: Apache-2.0
"""`QueryFeedback`: refines a query's embedding by a reranker's opinion."""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from haystack import Document, component, default_to_dict, logging
from haystack.components.embedders.types import DocumentEmbedder
from haystack.core.serialization import component_to_dict

from rerank_plugins.components import Checks, check_part
from rerank_plugins.components.feedback import check_method, refine_from_items

from ._parts import Composite, run_async

logger = logging.getLogger(__name__)


@component
class QueryFeedback(Composite):
    """Moves a query's embedding towards the documents that a reranker placed first.

    It stands between two embedding retrievers over the same store: the second one finds documents
    that the first one missed. No model is called. The documents need their embeddings: give the
    first retriever `return_embedding=True` if it has that, or this component a document embedder.

    Recall@100 without and with feedback, and how a bad reranker is recognised: docs/feedback.md of
    rerank-plugins.

    ### Usage example

    ```python
    from haystack import Document, Pipeline
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
    from haystack_integrations.components.retrievers.rerank_plugins import QueryFeedback
    from rerank_plugins.testing import Oracle

    store = InMemoryDocumentStore()
    store.write_documents([Document(content=c, embedding=[i, 1.0]) for i, c in enumerate("abcde")])

    pipeline = Pipeline()
    first = InMemoryEmbeddingRetriever(store, top_k=3, return_embedding=True)
    pipeline.add_component("first", first)
    pipeline.add_component("ranker", PluginRanker(strategy="pair-score", backend=Oracle()))
    pipeline.add_component("feedback", QueryFeedback())
    pipeline.add_component("second", InMemoryEmbeddingRetriever(store, top_k=3))
    pipeline.connect("first.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "feedback.documents")
    pipeline.connect("ranker.meta", "feedback.ranker_meta")
    pipeline.connect("feedback.query_embedding", "second.query_embedding")

    embedding = [1.0, 0.5]
    result = pipeline.run({
        "first": {"query_embedding": embedding},
        "ranker": {"query": "which letter?"},
        "feedback": {"query_embedding": embedding},
    })
    print(result["second"]["documents"], result["feedback"]["meta"])
    ```
    """

    _checks: ClassVar[Checks] = {
        "method": lambda _, method: check_method(method),
        "document_embedder": partial(check_part, inputs=("documents",), optional=True),
    }

    def __init__(
        self,
        *,
        method: str | dict[str, Any] = "safe",
        document_embedder: DocumentEmbedder | None = None,
    ) -> None:
        """
        Creates a QueryFeedback.

        :param method: ``"safe"`` turns the embedding by at most 25 degrees, and not at all if
            the reranker's scores look random. ``"bold"`` always turns it by 45 degrees, for a
            strong reranker. ``"refit"`` and ``"first"`` are the published recipes. A dictionary
            changes constants: ``{"name": "safe", "degrees": 30}``.
        :param document_embedder: Makes the embeddings of documents that come without one. It must
            be the one that the store was filled with.
        :raises ValueError: The method has no such constant.
        :raises UnknownNameError: There is no such method.
        """
        self.method = method
        self.document_embedder = document_embedder

    @component.output_types(query_embedding=list[float], meta=dict[str, Any])
    def run(
        self,
        query_embedding: list[float],
        documents: list[Document],
        candidates: list[Document] | None = None,
        ranker_meta: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Refine the embedding.

        :param query_embedding: The embedding that the first retriever searched with.
        :param documents: Documents in the reranker's order. Their scores are used if they fall
            along that order; else the order alone.
        :param candidates: All documents of the first retriever, if the reranker returns fewer:
            those that it left out count as less relevant, which improves feedback.
        :param ranker_meta: The ``meta`` output of a ranker of rerank-plugins: with it, feedback is
            skipped if the ranker failed.
        :returns: ``query_embedding`` (of the same length as before) and ``meta``: ``skipped`` (why
            it was not changed; empty if it was), ``angle`` in degrees, ``displacement``,
            ``loss_before``, ``loss_after``, ``trust``.
        :raises ValueError: Embeddings differ in their dimensions.
        """
        documents = list(documents)
        items = _items(documents, list(candidates or ()))
        bare = self._bare(items)
        made = self.document_embedder.run(documents=bare)["documents"] if bare else []  # type: ignore[union-attr]  # `_bare`
        return self._refined(query_embedding, documents, items, made, ranker_meta)

    @component.output_types(query_embedding=list[float], meta=dict[str, Any])
    async def run_async(
        self,
        query_embedding: list[float],
        documents: list[Document],
        candidates: list[Document] | None = None,
        ranker_meta: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`run` without blocking the event loop.

        :param query_embedding: The embedding that the first retriever searched with.
        :param documents: Documents in the reranker's order.
        :param candidates: All documents of the first retriever, if the reranker returns fewer.
        :param ranker_meta: The ``meta`` output of a ranker of rerank-plugins.
        :returns: The outputs of ``run``.
        :raises ValueError: Embeddings differ in their dimensions.
        """
        documents = list(documents)
        items = _items(documents, list(candidates or ()))
        bare = self._bare(items)
        made = (
            (await run_async(self.document_embedder, documents=bare))["documents"] if bare else []
        )
        return self._refined(query_embedding, documents, items, made, ranker_meta)

    def to_dict(self) -> dict[str, Any]:
        """
        Serializes the component to a dictionary.

        :returns: Dictionary with serialized data.
        """
        embedder = self.document_embedder
        return default_to_dict(
            self,
            method=self.method,
            document_embedder=(
                None if embedder is None else component_to_dict(embedder, "document_embedder")
            ),
        )

    def _parts(self) -> list[Any]:
        return [] if self.document_embedder is None else [self.document_embedder]

    def _bare(self, items: list[Document]) -> list[Document]:
        """The documents whose embedding is missing."""
        if self.document_embedder is None:
            return []
        return [d for d in items if d.embedding is None and (d.content or "").strip()]

    def _refined(
        self,
        query_embedding: list[float],
        documents: list[Document],
        items: list[Document],
        made: list[Document],
        ranker_meta: dict[str, Any] | None,
    ) -> dict[str, Any]:
        if why := _failure(ranker_meta):
            logger.warning("QueryFeedback: feedback was skipped: {why}", why=why)
            return {"query_embedding": list(query_embedding), "meta": {"skipped": why}}
        embeddings = {d.id: d.embedding for d in made}
        reranked = len({d.id for d in documents})
        vector, meta, warning = refine_from_items(
            query_embedding,
            [d.embedding or embeddings.get(d.id) or [] for d in items],
            [d.score for d in items[:reranked]],
            reranked,
            self.method,
        )
        if warning:
            logger.warning("QueryFeedback: {warning}", warning=warning)
        return {"query_embedding": vector, "meta": meta}


def _items(documents: list[Document], candidates: list[Document]) -> list[Document]:
    """List each document once: those that were reranked, then the others."""
    found: dict[str, Document] = {}
    for document in (*documents, *candidates):
        found.setdefault(document.id, document)
    known = {d.id: d.embedding for d in candidates if d.embedding is not None}
    return [
        replace(d, embedding=known[d.id]) if d.embedding is None and d.id in known else d
        for d in found.values()
    ]


def _failure(ranker_meta: dict[str, Any] | None) -> str:
    """Why a ranker of this library did not rank; empty if it did, or if it is not known."""
    said = ranker_meta or {}
    if not said.get("fallback") or said.get("score_kind") != "rank":
        return ""
    causes = said.get("causes") or ["its answer could not be used"]
    return f"the reranker failed: {causes[0]}"
