# SPDX-License-Identifier: Apache-2.0
"""`FeedbackRetriever`: embed, retrieve, rerank, refine the query, retrieve again."""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

from haystack import Document, component, default_to_dict, logging
from haystack.components.embedders.types import DocumentEmbedder, TextEmbedder
from haystack.components.retrievers.types import EmbeddingRetriever, TextRetriever
from haystack.core.serialization import component_to_dict
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
from haystack_integrations.components.rankers.rerank_plugins._base import Ranker

from rerank_plugins import InputError, UnsupportedCallError
from rerank_plugins.calls import Call, Hit, Plan, Search
from rerank_plugins.components import Checks, check_flag, check_part, check_top_k, listed
from rerank_plugins.components.feedback import (
    EmbedQuery,
    FetchVectors,
    PartsBackend,
    RankHits,
    conclude_feedback,
    feedback_options,
    ranking_of,
    results_of,
    retrieve_with_feedback,
)
from rerank_plugins.feedback import FeedbackOptions, FeedbackResult

from ._parts import Composite, run_async, takes

logger = logging.getLogger(__name__)
_PARTS = ("retriever", "ranker", "text_embedder", "document_embedder")


def _check_retriever(name: str, part: object) -> None:
    """Refuse what searches neither by vectors nor by text."""
    by_text = callable(getattr(part, "run", None)) and takes(part, "query")
    query = "query" if by_text else "query_embedding"
    check_part(name, part, inputs=(query, "filters", "top_k"))


@component
class FeedbackRetriever(Composite):
    """Retrieves, reranks, refines the query's embedding, and retrieves again.

    The ranker's opinion of the first documents is distilled into the query's embedding; retrieving
    with that finds relevant documents that were missed. No document is reranked twice. Works with
    any embedding retriever and any ranker. Around a retriever that searches by text (BM25, or a
    hybrid one), the words of the documents that were ranked best are added to the query instead.

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

    _checks: ClassVar[Checks] = {
        "retriever": _check_retriever,
        "ranker": partial(check_part, inputs=("query", "documents")),
        "text_embedder": partial(check_part, inputs=("text",), optional=True),
        "document_embedder": partial(check_part, inputs=("documents",), optional=True),
        "top_k": check_top_k,
        "return_embedding": check_flag,
    }

    def __init__(
        self,
        *,
        retriever: EmbeddingRetriever | TextRetriever,
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
        expand: Literal["query", "neighbours", "both"] = "query",
        neighbours: int = 16,
        window: int = 20,
        return_embedding: bool = False,
        raise_on_failure: bool = False,
    ) -> None:
        """
        Creates a FeedbackRetriever.

        :param retriever: Any embedding retriever. It is asked for embeddings if its `run` has
            ``return_embedding``; a store that returns none needs ``document_embedder``. Or any
            retriever with ``run(query, filters, top_k)``, such as `InMemoryBM25Retriever`: feedback
            then adds words to the query. A hybrid one, which takes ``query_embedding`` too, gets
            the query's own in both searches.
        :param ranker: Any ranker: a component with ``run(query, documents)``; or the name of a
            reranker, as of `PluginRanker`. Its own ``top_k`` and
            threshold drop no documents here: those that it leaves out come after the others.
        :param text_embedder: Embeds the query, unless `run` is given ``query_embedding``.
        :param document_embedder: Makes the embeddings of documents that come without one. It must
            be the one that the store was filled with.
        :param top_k: How many documents to return at most; all when None.
        :param search_k: How many documents each search retrieves.
        :param depth: How many of those are reranked; all when None. 20 of 100 bring about half of
            the gain.
        :param method: ``"safe"``, ``"bold"``, ``"refit"``, ``"first"``,
            ``"qdrant-naive"``, ``"sefr"``, or a dictionary such as
            ``{"name": "safe", "degrees": 30}``: see `QueryFeedback`. With a retriever that searches
            by text: ``"safe"``, ``"bold"``, ``"rocchio"`` or ``{"name": "safe", "terms": 20}``.
        :param rounds: How often the query is refined, and used for another search.
        :param rerank_new: Rerank the new documents of the last search, too.
        :param fuse: ``"head"``: reranked documents first, then those of the second search.
            ``"rrf"``: reciprocal rank fusion of both. ``"second"``: the second search alone.
        :param head: How many of the reranked documents come first with ``fuse="head"``; all when
            None.
        :param expand: ``"query"``: a second search with the refined query. ``"neighbours"``:
            searches with the embeddings of the documents that were ranked best, window by window
            (GAR and SlideGAR), until ``depth`` documents were reranked. ``"both"``: those, in turns
            with what the refined query finds. ``rounds``, ``rerank_new``, ``fuse`` and ``head``
            belong to ``"query"``.
        :param neighbours: Neighbours of a document.
        :param window: Documents that are reranked together, where neighbours are searched for.
        :param return_embedding: Return the documents with their embeddings.
        :param raise_on_failure: Raise when the ranker or a later search fails, instead of returning
            the documents of the first search.
        :raises ValueError: An argument is out of range, the second search could not change the
            result, or a part cannot serve (neighbours with a retriever that searches by text, for
            example).
        :raises UnknownNameError: There is no such method.
        """
        self.retriever = retriever
        named = isinstance(ranker, str | dict)
        self.ranker = PluginRanker(ranker, top_k=None) if named else ranker
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
        self.expand = expand
        self.neighbours = neighbours
        self.window = window
        self.return_embedding = return_embedding
        self.raise_on_failure = raise_on_failure
        self._limit(None)  # what cannot be used is refused now
        self._fix()

    @component.output_types(
        documents=list[Document], query_embedding=list[float], meta=dict[str, Any]
    )
    def run(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> dict[str, Any]:
        """Retrieve with feedback.

        :param query: The query; the ranker reads it. A blank query is not reranked.
        :param query_embedding: Its embedding, instead of the text embedder's.
        :param filters: For both searches.
        :param top_k: How many documents to return at most, instead of the component's own number.
        :param instruction: What relevance means, where the ranker has a place for it.
        :returns: ``documents`` with new scores, ``query_embedding`` (of the last search), and
            ``meta``: ``score_kind`` (``"index"`` if nothing was reranked), ``skipped`` (why
            there was no feedback; empty if there was), ``found_by_feedback``, ``rounds`` (where
            words were added, with the whole ``query`` and the weights of its new ``terms``),
            ``usage``, ``fallback``, ``causes``.
        :raises ValueError: ``top_k`` is not positive, embeddings differ in their dimensions, or
            there is an instruction and no place for it in the ranker.
        :raises RerankError: The first search failed; or a part did and ``raise_on_failure`` is set.
        """
        limit, parts = self._limit(top_k), self._asked(filters, instruction)
        plan = self._plan(query, query_embedding)
        return self._result(parts.runner.run(plan), parts, limit)

    @component.output_types(
        documents=list[Document], query_embedding=list[float], meta=dict[str, Any]
    )
    async def run_async(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> dict[str, Any]:
        """`run` without blocking the event loop.

        :param query: The query; the ranker reads it. A blank query is not reranked.
        :param query_embedding: Its embedding, instead of the text embedder's.
        :param filters: For both searches.
        :param top_k: How many documents to return at most, instead of the component's own number.
        :param instruction: What relevance means, where the ranker has a place for it.
        :returns: The outputs of ``run``.
        :raises ValueError: ``top_k`` is not positive, embeddings differ in their dimensions, or
            there is an instruction and no place for it in the ranker.
        :raises RerankError: The first search failed; or a part did and ``raise_on_failure`` is set.
        """
        limit, parts = self._limit(top_k), self._asked(filters, instruction)
        plan = self._plan(query, query_embedding)
        return self._result(await parts.runner.arun(plan), parts, limit)

    def run_many(
        self,
        queries: list[str],
        query_embeddings: list[list[float]] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> list[dict[str, Any]]:
        """Retrieve with feedback for many queries.

        :param queries: The queries.
        :param query_embeddings: Their embeddings, instead of the text embedder's.
        :param filters: For all searches.
        :param top_k: How many documents to return at most for each query.
        :param instruction: What relevance means, where the ranker has a place for it.
        :returns: The outputs of ``run`` for each query.
        :raises ValueError: As in ``run``, or there are fewer or more embeddings than queries.
        :raises RerankError: The first of the errors that ``run`` would raise, after the other
            queries are done.
        """
        limit, parts = self._limit(top_k), self._asked(filters, instruction)
        plans = self._plans(queries, query_embeddings)
        found = results_of(parts.runner.settle_many(plans))
        return [self._result(result, parts, limit) for result in found]

    async def run_many_async(
        self,
        queries: list[str],
        query_embeddings: list[list[float]] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        instruction: str | None = None,
        max_concurrency: int = 16,
    ) -> list[dict[str, Any]]:
        """`run_many` without blocking the event loop, several queries at once.

        :param queries: The queries.
        :param query_embeddings: Their embeddings, instead of the text embedder's.
        :param filters: For all searches.
        :param top_k: How many documents to return at most for each query.
        :param instruction: What relevance means, where the ranker has a place for it.
        :param max_concurrency: How many queries are under way at once.
        :returns: The outputs of ``run`` for each query.
        :raises ValueError: As in ``run_many``, or ``max_concurrency`` is not positive.
        :raises RerankError: As in ``run_many``.
        """
        limit, parts = self._limit(top_k), self._asked(filters, instruction)
        plans = self._plans(queries, query_embeddings)
        found = results_of(await parts.runner.asettle_many(plans, max_concurrency))
        return [self._result(result, parts, limit) for result in found]

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
            expand=self.expand,
            neighbours=self.neighbours,
            window=self.window,
            return_embedding=self.return_embedding,
            raise_on_failure=self.raise_on_failure,
        )

    def _parts(self) -> list[Any]:
        held = (getattr(self, name) for name in _PARTS)
        return [part for part in held if part is not None]

    @property
    def _options(self) -> FeedbackOptions:
        """The options of a search with the present retriever, which may be exchanged."""
        return feedback_options(
            search_k=self.search_k,
            depth=self.depth,
            top_k=self.top_k,
            method=self.method,
            rounds=self.rounds,
            rerank_new=self.rerank_new,
            fuse=self.fuse,
            head=self.head,
            expand=self.expand,
            neighbours=self.neighbours,
            window=self.window,
            raise_on_failure=self.raise_on_failure,
            by_text=takes(self.retriever, "query"),
        )

    def _asked(self, filters: dict[str, Any] | None, instruction: str | None) -> "_Parts":
        """The parts for one call of this component."""
        _check_instruction(self.ranker, instruction)
        return _Parts(self, filters, instruction)

    def _limit(self, top_k: int | None) -> int | None:
        check_top_k("top_k", top_k)
        limit = self.top_k if top_k is None else top_k
        self._options.check_useful(limit)
        return limit

    def _plan(self, query: str, query_embedding: list[float] | None) -> Plan[FeedbackResult]:
        needs = takes(self.retriever, "query_embedding") or not takes(self.retriever, "query")
        if query_embedding is not None and not needs:
            raise InputError("query_embedding was given, and the retriever searches by text alone")
        return retrieve_with_feedback(
            query,
            query_embedding,
            self._options,
            embeds=self.document_embedder is not None,
            needs_vector=needs,
        )

    def _plans(
        self, queries: list[str], embeddings: list[list[float]] | None
    ) -> list[Plan[FeedbackResult]]:
        queries = listed("queries", queries)
        given = [None] * len(queries) if embeddings is None else list(embeddings)
        if len(given) != len(queries):
            raise InputError(f"there are {len(queries)} queries and {len(given)} embeddings")
        return [self._plan(q, e) for q, e in zip(queries, given, strict=True)]

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


def _check_instruction(ranker: Any, instruction: str | None) -> None:
    """Refuse an instruction that the ranker has no place for: its failure costs the feedback alone.

    Raises:
        InputError: It has none.
    """
    if instruction is not None and isinstance(ranker, Ranker):
        ranker._reranker.with_instruction(instruction)
    elif instruction is not None and not takes(ranker, "instruction"):
        raise InputError(
            f"the ranker, a {type(ranker).__name__}, takes no instruction",
            hint="Leave it out, or use one that does, such as PluginRanker.",
        )


def _rank_options(ranker: Any, n: int) -> dict[str, Any]:
    """The options with which a ranker returns all of ``n`` documents with its plain scores."""
    options = {"top_k": n} if takes(ranker, "top_k") else {}
    return options | {"scale_score": False} if isinstance(ranker, Ranker) else options


class _Parts(PartsBackend):
    """The parts of a component as a backend, for one call of the component.

    Attributes:
        documents: The retrieved documents, by id.
    """

    def __init__(
        self, held: Any, filters: dict[str, Any] | None, instruction: str | None = None
    ) -> None:
        self._held = held
        self._filters = filters
        self._told = {} if instruction is None else {"instruction": instruction}
        self.documents: dict[str, Document] = {}

    def answer(self, call: Call[Any]) -> Any:
        part, inputs = self._job(call)
        return self._read(call, part.run(**inputs))

    async def aanswer(self, call: Call[Any]) -> Any:
        part, inputs = self._job(call)
        return self._read(call, await run_async(part, **inputs))

    def _job(self, call: Call[Any]) -> tuple[Any, dict[str, Any]]:
        """The part that answers a call, and its inputs."""
        held = self._held
        match call:
            case EmbedQuery(query=query):
                if held.text_embedder is None:
                    raise UnsupportedCallError(
                        "the query has no embedding",
                        hint="Give query_embedding, or a text_embedder to the component.",
                    )
                return held.text_embedder, {"text": query}
            case Search(vector=vector, k=k, text=text):
                inputs: dict[str, Any] = {"filters": self._filters, "top_k": k}
                inputs |= {"query": text} if text else {}
                inputs |= {"query_embedding": list(vector)} if vector else {}
                if takes(held.retriever, "return_embedding"):
                    inputs["return_embedding"] = True
                return held.retriever, inputs
            case RankHits(query=query, hits=hits):
                documents = [replace(self.documents[hit.id], score=hit.score) for hit in hits]
                options = _rank_options(held.ranker, len(hits)) | self._told
                return held.ranker, {"query": query, "documents": documents, **options}
            case FetchVectors(hits=hits):
                documents = [self.documents[hit.id] for hit in hits]
                return held.document_embedder, {"documents": documents}
            case _:
                raise UnsupportedCallError(f"no part answers a {type(call).__name__}")

    def _read(self, call: Call[Any], output: dict[str, Any]) -> Any:
        """The answer in a part's output."""
        match call:
            case EmbedQuery():
                return output["embedding"]
            case Search():
                return tuple(self._hit(d) for d in output["documents"])
            case RankHits(hits=hits):
                ranked = output["documents"]
                return ranking_of(
                    [hit.id for hit in hits],
                    [d.id for d in ranked],
                    [d.score for d in ranked],
                    output.get("meta"),
                )
            case FetchVectors(hits=hits):
                made = {d.id: d.embedding or () for d in output["documents"]}
                return [made.get(hit.id, ()) for hit in hits]
            case _:
                raise UnsupportedCallError(f"no part answers a {type(call).__name__}")

    def _hit(self, document: Document) -> Hit:
        self.documents.setdefault(document.id, document)
        return Hit(document.id, document.content or "", document.embedding or (), document.score)
