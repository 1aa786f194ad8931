"""`FeedbackRetriever`: retrieve, rerank, refine the query, retrieve again."""

import asyncio
import logging
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, QueryType
from llama_index.postprocessor.rerank_plugins import PluginRerank
from llama_index.postprocessor.rerank_plugins._base import Rerank

from rerank_plugins import ConfigurationError, InputError, Ranking
from rerank_plugins.calls import Call, Hit, Plan, Search
from rerank_plugins.components import listed
from rerank_plugins.components.feedback import (
    EmbedQuery,
    FetchVectors,
    PartsBackend,
    RankHits,
    conclude_feedback,
    feedback_options,
    ranking_of,
    retrieve_with_feedback,
)
from rerank_plugins.feedback import Expand, FeedbackResult, Fuse

from ._vectors import Vectors, anode_vectors, node_vectors

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

_FEW = 10

# Retrievers of the framework that search for the words of a text, by class names.
_BY_TEXT = frozenset({"BM25Retriever"})

# Retrievers of the framework that search by keywords, structure or a database, by class names.
_WITHOUT_VECTORS = frozenset(
    {
        "BaseKeywordTableRetriever",
        "CypherTemplateRetriever",
        "DocumentSummaryIndexLLMRetriever",
        "EmptyIndexRetriever",
        "KGTableRetriever",
        "KnowledgeGraphRAGRetriever",
        "LLMSynonymRetriever",
        "NLSQLRetriever",
        "SQLRetriever",
        "SummaryIndexLLMRetriever",
        "SummaryIndexRetriever",
        "TextToCypherRetriever",
        "TreeAllLeafRetriever",
        "TreeRootRetriever",
        "TreeSelectLeafRetriever",
    }
)


class FeedbackEvent(BaseEvent):
    """The result of the feedback for one query."""

    meta: Dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """The event's name."""
        return "RerankPluginsFeedbackEvent"


class FeedbackRetriever(BaseRetriever):
    """Retrieve, rerank, refine the query's embedding, and retrieve again.

    The reranker's opinion of the first nodes is distilled into the query's embedding; retrieving
    with that finds relevant nodes that were missed. No node is reranked twice. Works with every
    retriever that uses `QueryBundle.embedding`, such as those of an index. One that finds the same
    nodes with the same scores for two embeddings seems not to; a warning says so, once.

    Around a ``BM25Retriever``, or with ``expand="words"`` around any retriever that uses
    `QueryBundle.query_str` (of a search engine, or a hybrid one), the words of the nodes that were
    ranked best are added to the query instead. What is embedded stays as it is.

    The reranker reads the instruction of an `InstructedQuery`, and refuses it where it has no place
    for one.

    Args:
        retriever: The retriever. Its ``similarity_top_k`` is the number of nodes of each search:
            give it 50 or 100, and not the framework's default of 2.
        reranker: Any postprocessor that ranks; or the name of a reranker, as of `PluginRerank`. Its
            ``top_n`` is not applied here.
        embed_model: Embeds the query, and nodes whose vectors the store does not return. By default
            the retriever's own.
        top_k: How many nodes to return at most; all when None.
        depth: How many nodes of each search are reranked; all when None. 20 of 100 bring about half
            of the gain.
        method: ``"safe"`` turns the query's embedding by at most 25 degrees, and not at all if
            the reranker's scores look random; ``"bold"`` always by 45 degrees, for a strong
            reranker. ``"refit"`` and ``"first"`` are the published recipes. A dictionary changes
            constants: ``{"name": "safe", "degrees": 30}``. Where words are added: ``"safe"``,
            ``"bold"``, ``"rocchio"`` or ``{"name": "safe", "terms": 20}``.
        rounds: How often the query is refined, and used for another search.
        rerank_new: Rerank the new nodes of the last search, too.
        fuse: ``"head"``: reranked nodes first, then those of the second search. ``"rrf"``:
            reciprocal rank fusion of both. ``"second"``: the second search alone.
        head: How many of the reranked nodes come first with ``fuse="head"``; all when None.
        expand: ``"query"``: a second search with the refined query. ``"neighbours"``: searches
            with the embeddings of the nodes that were ranked best, window by window (GAR and
            SlideGAR), until ``depth`` nodes were reranked. ``"both"``: those, in turns with what
            the refined query finds. ``"words"``: a second search with words added to the query.
            ``rounds``, ``rerank_new``, ``fuse`` and ``head`` belong to ``"query"`` and ``"words"``.
        neighbours: Neighbours of a node.
        window: Nodes that are reranked together, where neighbours are searched for.
        raise_on_failure: Raise when the reranker or a later search fails, instead of returning the
            nodes of the first search.
        callback_manager: The framework's own.

    Raises:
        InputError: An argument is out of range, the second search could not change the result, or
            a part cannot serve: a retriever that does not search by vectors, for example.
        UnknownNameError: There is no such method.

    Examples:
        >>> from llama_index.core import MockEmbedding, VectorStoreIndex
        >>> from llama_index.core.schema import TextNode
        >>> from llama_index.postprocessor.rerank_plugins import PluginRerank
        >>> from rerank_plugins.testing import Oracle
        >>> nodes = [TextNode(text=f"passage {i}", embedding=[i, 1.0]) for i in range(40)]
        >>> index = VectorStoreIndex(nodes, embed_model=MockEmbedding(2))
        >>> retriever = FeedbackRetriever(
        ...     index.as_retriever(similarity_top_k=20),
        ...     PluginRerank(strategy="pair-score", backend=Oracle()),
        ...     top_k=5,
        ... )
        >>> len(retriever.retrieve("a question"))
        5
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        reranker: BaseNodePostprocessor | str | Dict[str, Any],
        *,
        embed_model: Optional[BaseEmbedding] = None,
        top_k: Optional[int] = 10,
        depth: Optional[int] = None,
        method: str | Mapping[str, Any] = "safe",
        rounds: int = 1,
        rerank_new: bool = True,
        fuse: Fuse = "head",
        head: Optional[int] = None,
        expand: Expand = "query",
        neighbours: int = 16,
        window: int = 20,
        raise_on_failure: bool = False,
        callback_manager: Optional[CallbackManager] = None,
    ) -> None:
        if isinstance(reranker, (str, dict)):
            reranker = PluginRerank(reranker)
        self._by_text = expand == "words" or _searches_by_text(retriever)
        _check_parts(retriever, reranker, embed_model, by_text=self._by_text)
        finds = getattr(retriever, "similarity_top_k", 100)
        self._options = feedback_options(
            search_k=finds,
            depth=depth,
            top_k=top_k,
            method=method,
            rounds=rounds,
            rerank_new=rerank_new,
            fuse=fuse,
            head=head,
            expand=expand,
            neighbours=neighbours,
            window=window,
            raise_on_failure=raise_on_failure,
            by_text=self._by_text,
        )
        if finds < _FEW:
            logger.warning(
                "FeedbackRetriever: similarity_top_k is %s; feedback learns from the nodes of the "
                "first search, so give the retriever 50 or 100",
                finds,
            )
        self._retriever, self._reranker = retriever, _uncut(reranker)
        self._embed_model = embed_model or getattr(retriever, "_embed_model", None)
        self._top_k = top_k
        self._warned = False
        super().__init__(callback_manager=callback_manager)

    def retrieve_many(self, queries: Sequence[QueryType]) -> List[List[NodeWithScore]]:
        """`retrieve` for each query, one after the other.

        Raises:
            InputError: ``queries`` is not a list.
        """
        return [self.retrieve(query) for query in listed("queries", queries)]

    async def aretrieve_many(
        self, queries: Sequence[QueryType], *, max_concurrency: int = 16
    ) -> List[List[NodeWithScore]]:
        """`aretrieve` for each query, several at once.

        Args:
            queries: The queries.
            max_concurrency: How many are under way at once.

        Raises:
            InputError: ``max_concurrency`` is not positive, or ``queries`` is not a list.
        """
        queries = listed("queries", queries)
        if max_concurrency < 1:
            raise InputError(f"max_concurrency is {max_concurrency}, expected at least 1")
        slots = asyncio.Semaphore(max_concurrency)

        async def one(query: QueryType) -> List[NodeWithScore]:
            async with slots:
                return await self.aretrieve(query)

        return list(await asyncio.gather(*map(one, queries)))

    def _warn_of_same(self, name: str) -> None:
        """Say once that the retriever seems to ignore the query's embedding."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "FeedbackRetriever: %s found the same nodes with the same scores for another "
                "embedding of the query. If it does not search with QueryBundle.embedding, "
                "feedback changes nothing: give a retriever that does",
                name,
            )

    def _get_prompt_modules(self) -> PromptMixinType:
        prompted = {"retriever": self._retriever, "reranker": self._reranker}
        return {k: v for k, v in prompted.items() if hasattr(v, "get_prompts")}  # type: ignore[misc]

    def _retrieve(self, query_bundle: QueryBundle) -> List[NodeWithScore]:
        parts = _Parts(self, query_bundle)
        return self._result(parts.runner.run(self._plan(query_bundle)), parts)

    async def _aretrieve(self, query_bundle: QueryBundle) -> List[NodeWithScore]:
        parts = _Parts(self, query_bundle)
        return self._result(await parts.runner.arun(self._plan(query_bundle)), parts)

    def _plan(self, bundle: QueryBundle) -> Plan[FeedbackResult]:
        if not bundle.query_str.strip() and bundle.embedding is None:
            raise InputError("the query is blank, so there is nothing to search with")
        told = getattr(bundle, "instruction", None)
        if told is not None and isinstance(self._reranker, Rerank):
            self._reranker._reranker.with_instruction(told)  # an error where there is no place
        return retrieve_with_feedback(
            bundle.query_str,
            None if self._by_text else bundle.embedding,
            self._options,
            embeds=True,
            needs_vector=not self._by_text,
        )

    def _result(self, found: FeedbackResult, parts: "_Parts") -> List[NodeWithScore]:
        outcome = conclude_feedback(found, self._top_k)
        if outcome.warning:
            logger.warning("FeedbackRetriever: %s", outcome.warning)
        dispatcher.event(FeedbackEvent(meta=outcome.meta))
        return [
            NodeWithScore(node=parts.nodes[key].node, score=score) for key, score in outcome.lines
        ]


class _Parts(PartsBackend):
    """The parts of a retriever as a backend, for one query.

    Attributes:
        nodes: The retrieved nodes, by id.
    """

    def __init__(self, held: Any, bundle: QueryBundle) -> None:
        self._held, self._bundle = held, bundle
        self.nodes: Dict[str, NodeWithScore] = {}
        self._found: Dict[Sequence[float], List[Any]] = {}

    def answer(self, call: Call[Any]) -> Any:
        held = self._held
        match call:
            case EmbedQuery():
                return self._model().get_agg_embedding_from_queries(self._bundle.embedding_strs)
            case Search(text=text) if text:
                return self._hits((), held._retriever.retrieve(self._saying(text)))
            case Search(vector=vector):
                return self._hits(vector, held._retriever.retrieve(self._with(vector)))
            case RankHits(hits=hits):
                nodes = self._given(hits)
                if isinstance(held._reranker, Rerank):
                    return _ranking(hits, *held._reranker.ranked(nodes, self._bundle))
                return _ranking(hits, held._reranker.postprocess_nodes(nodes, self._bundle))
            case FetchVectors(hits=hits):
                bare = [self.nodes[hit.id].node for hit in hits]
                return _vectors(hits, node_vectors(held._retriever, bare, held._embed_model))
            case _:
                raise ConfigurationError(f"no part answers a {type(call).__name__}")

    async def aanswer(self, call: Call[Any]) -> Any:
        held = self._held
        match call:
            case EmbedQuery():
                texts = self._bundle.embedding_strs
                return await self._model().aget_agg_embedding_from_queries(texts)
            case Search(text=text) if text:
                return self._hits((), await held._retriever.aretrieve(self._saying(text)))
            case Search(vector=vector):
                return self._hits(vector, await held._retriever.aretrieve(self._with(vector)))
            case RankHits(hits=hits):
                nodes = self._given(hits)
                if isinstance(held._reranker, Rerank):
                    return _ranking(hits, *await held._reranker.aranked(nodes, self._bundle))
                ranked = await held._reranker.apostprocess_nodes(nodes, self._bundle)
                return _ranking(hits, ranked)
            case FetchVectors(hits=hits):
                bare = [self.nodes[hit.id].node for hit in hits]
                found = await anode_vectors(held._retriever, bare, held._embed_model)
                return _vectors(hits, found)
            case _:
                raise ConfigurationError(f"no part answers a {type(call).__name__}")

    def _model(self) -> BaseEmbedding:
        model: Optional[BaseEmbedding] = self._held._embed_model
        if model is None:
            raise ConfigurationError(
                "the query has no embedding, and the retriever has no embedding model",
                hint="Give embed_model=... to FeedbackRetriever.",
            )
        return model

    def _with(self, vector: Sequence[float]) -> QueryBundle:
        return replace(self._bundle, embedding=list(vector))

    def _saying(self, text: str) -> QueryBundle:
        """The query with another text, which is not what gets embedded."""
        own = self._bundle.embedding_strs
        return replace(self._bundle, query_str=text, custom_embedding_strs=own)

    def _given(self, hits: Sequence[Hit]) -> List[NodeWithScore]:
        """The nodes of hits, each with a new score object: some rerankers write into those."""
        return [
            NodeWithScore(node=self.nodes[hit.id].node, score=self.nodes[hit.id].score)
            for hit in hits
        ]

    def _hits(self, vector: Sequence[float], nodes: List[NodeWithScore]) -> tuple[Hit, ...]:
        for node in nodes:
            self.nodes.setdefault(node.node.node_id, node)
        found = [(n.node.node_id, n.score) for n in nodes]
        held, known = self._held, [v for v, same in self._found.items() if same == found]
        if any(score is not None for _, score in found) and set(known) - {vector}:
            held._warn_of_same(type(held._retriever).__name__)
        self._found[vector] = found
        return tuple(
            Hit(
                n.node.node_id,
                n.node.get_content(metadata_mode=MetadataMode.NONE),
                n.node.embedding or (),
                n.score,
            )
            for n in nodes
        )


def _vectors(hits: Sequence[Hit], found: Vectors) -> List[Sequence[float]]:
    return [found.get(hit.id, ()) for hit in hits]


def _ranking(
    hits: Sequence[Hit], ranked: List[NodeWithScore], meta: Optional[Dict[str, Any]] = None
) -> Ranking:
    return ranking_of(
        [hit.id for hit in hits],
        [n.node.node_id for n in ranked],
        [n.score for n in ranked],
        meta,
    )


def _searches_by_text(retriever: object) -> bool:
    return bool(_BY_TEXT & {cls.__name__ for cls in type(retriever).__mro__})


def _check_parts(
    retriever: object, reranker: object, embed_model: object, *, by_text: bool
) -> None:
    """Refuse parts that cannot serve.

    Raises:
        InputError: One is of another type, or the retriever does not search by vectors.
    """
    for name, part, kind in (
        ("retriever", retriever, BaseRetriever),
        ("reranker", reranker, BaseNodePostprocessor),
    ):
        if not isinstance(part, kind):
            raise InputError(f"{name} is {part!r:.200}, expected a {kind.__name__}")
    if embed_model is not None and not isinstance(embed_model, BaseEmbedding):
        raise InputError(f"embed_model is {embed_model!r:.200}, expected a BaseEmbedding")
    name = type(retriever).__name__
    bases = {cls.__name__ for cls in type(retriever).__mro__}
    if bases & _WITHOUT_VECTORS and not by_text and not name.endswith("EmbeddingRetriever"):
        raise InputError(
            f"retriever is a {name}, which does not search by vectors",
            hint="Give one that uses QueryBundle.embedding, such as a VectorStoreIndex's, or "
            "expand='words' if it searches for the words of the query.",
        )


def _uncut(reranker: BaseNodePostprocessor) -> BaseNodePostprocessor:
    """Remove a reranker's limit: a node that it leaves out would count as irrelevant."""
    if isinstance(reranker, Rerank):
        plain = {"top_n": None, "score_threshold": None, "cut_at_gap": False, "scale_score": False}
        return reranker.model_copy(update=plain)
    if "top_n" in type(reranker).model_fields:
        return reranker.model_copy(update={"top_n": 1_000_000})
    return reranker
