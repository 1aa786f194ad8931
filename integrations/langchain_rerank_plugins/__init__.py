"""LLM rerankers as a LangChain document compressor."""

import logging
from contextlib import suppress
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Optional, Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load.serializable import Serializable
from langchain_core.runnables import RunnableLambda
from pydantic import ConfigDict, Field, PrivateAttr

from rerank_plugins import ConfigurationError, InputError, Ranking, Reranker, components

__all__ = ["PluginRerank"]

_Values = Dict[str, Any]
_NAMES = ("model", "backend", "preset", "strategy", "base_url", "limits")
_FIXED = Field(frozen=True)  # what the reranker is built from


class PluginRerank(Serializable, BaseDocumentCompressor):
    """Reranks documents with any strategy and backend of rerank-plugins, or of a package for it.

    Scores go into the metadata of copies; a value that is there moves to ``previous_...``. When the
    model fails, documents keep order and metadata, and a warning, the report and the trace say why.

    Args:
        model: A name, as of `rerank_plugins.load_reranker`; a small encoder when None.
        base_url: The server where ``model`` runs.
        preset: A known checkpoint of which ``model`` is a copy.
        strategy: A strategy, its name, or a dictionary, instead of the model's own.
        backend: Instead of ``model``: a backend, its name, or a dictionary.
        instruction: What relevance means, where the model's prompt has a place for it.
        backend_options: Further arguments of the backend, such as ``{"device": "cuda"}``.
        limits: What one query may cost, such as ``{"timeout_s": 30}``.
        raise_on_failure: Raise when a call fails, instead of keeping the order.
        top_n: How many documents to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the model's own scores.
        cut_at_gap: Return what stands above the largest drop of the scores.
        keep_at_least: How many documents the threshold and the gap leave in any case.
        chunk_words: Cut longer documents into chunks of so many words; the best one counts.
        scale_score: Scores from 0 to 1, where their kind allows it.
        drop_unranked: Leave out the documents that the model's answer left out.
        score_key: The key of the score in the metadata.
        retriever_score_key: That of the retriever's score, for strategies that mix it in.

    Raises:
        ValueError: An argument is out of range, missing or unknown.

    Examples:
        >>> reranker = PluginRerank(strategy="query-likelihood", backend="oracle", top_n=1)
        >>> reranker.compress_documents([Document("A cat"), Document("A flea")], "flea")[0].metadata
        {'relevance_score': -0.3335550919734915}
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)

    model: Annotated[Any, _FIXED] = None
    strategy: Annotated[Any, _FIXED] = None
    backend: Annotated[Any, _FIXED] = None
    base_url: Annotated[Optional[str], _FIXED] = None
    preset: Annotated[Optional[str], _FIXED] = None
    instruction: Annotated[Optional[str], _FIXED] = None
    backend_options: Annotated[Optional[_Values], _FIXED] = None
    limits: Annotated[Optional[_Values], _FIXED] = None
    raise_on_failure: Annotated[bool, _FIXED] = False
    top_n: Annotated[Optional[int], Field(gt=0, strict=True)] = 10
    score_threshold: Annotated[Optional[float], Field(allow_inf_nan=False)] = None
    cut_at_gap: bool = False
    keep_at_least: Annotated[int, Field(ge=0, strict=True)] = 0
    chunk_words: Annotated[Optional[int], Field(frozen=True, gt=0, strict=True)] = None
    scale_score: bool = False
    drop_unranked: bool = False
    score_key: str = "relevance_score"
    retriever_score_key: Optional[str] = None
    _reranker: Reranker = PrivateAttr()

    if not TYPE_CHECKING:  # type checkers make a constructor of the fields

        def __init__(self, **values: Any) -> None:
            components.known_keys("PluginRerank", values, type(self).model_fields)
            super().__init__(**values)
            names = {key: getattr(self, key) for key in _NAMES}
            reranker = components.reranker_of(
                names,
                self.backend_options,
                raise_on_failure=self.raise_on_failure,
                chunk_words=self.chunk_words,
            )
            told = self.instruction
            self._reranker = reranker if told is None else reranker.with_instruction(told)

    @property
    def reranker(self) -> Reranker:
        """The reranker behind it, which has ``warm_up`` and ``close``."""
        return self._reranker

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> List[Document]:
        job: _Values = {"query": query, "documents": documents}
        return list(self.as_step().invoke(job, {"callbacks": callbacks})["documents"])

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> List[Document]:
        job: _Values = {"query": query, "documents": documents}
        return list((await self.as_step().ainvoke(job, {"callbacks": callbacks}))["documents"])

    def as_step(self) -> RunnableLambda[_Values, _Values]:
        """A step of a chain and of a trace, with its ``report``.

        It takes ``query`` and ``documents``, and where there is one, the ``instruction`` of the
        query, which replaces that of the constructor.
        """

        def rank(job: _Values) -> _Values:
            found, told = self._candidates(job), job.get("instruction")
            ranking = self._reranker.rank(job["query"], found.texts, instruction=told)
            return self._result(job, found, ranking)

        async def arank(job: _Values) -> _Values:
            found, told = self._candidates(job), job.get("instruction")
            ranking = await self._reranker.arank(job["query"], found.texts, instruction=told)
            return self._result(job, found, ranking)

        return RunnableLambda(rank, arank, name=type(self).__name__)

    def _candidates(self, job: Any) -> components.Candidates:
        if not isinstance(job, dict) or not {"query", "documents"} <= job.keys():
            raise InputError("the step takes a dictionary with query and documents")
        given = job["documents"]
        if isinstance(given, str) or not all(isinstance(d, Document) for d in given):
            raise InputError("documents has to be a list of Document", hint="The query is second.")
        scores = [document.metadata.get(self.retriever_score_key) for document in given]
        scores = [s if isinstance(s, Real) and not isinstance(s, bool) else None for s in scores]
        # Ids are optional, and two stores may have the same: a copy has the same text, too.
        ids = [f"{i if d.id is None else d.id!r} {d.page_content}" for i, d in enumerate(given)]
        return components.candidates(ids, [d.page_content for d in given], scores)

    def _result(self, job: _Values, found: components.Candidates, ranking: Ranking) -> _Values:
        outcome = components.conclude(
            ranking,
            found,
            top_k=self.top_n,
            score_threshold=self.score_threshold,
            cut_at_gap=self.cut_at_gap,
            keep_at_least=self.keep_at_least,
            drop_unranked=self.drop_unranked,
            scale_score=self.scale_score,
            top_grade=components.top_grade(self._reranker.strategy),
        )
        if outcome.warning:
            logging.getLogger(__name__).warning("PluginRerank: %s", outcome.warning)
        lines = [(job["documents"][i], score) for i, score in outcome.lines]
        documents = [d if ranking.kept_order else self._scored(d, score) for d, score in lines]
        return {"documents": documents, "report": outcome.meta}

    def _scored(self, document: Document, score: Any) -> Document:
        """A copy with the score in its metadata; a value that is there moves, and is not lost."""
        metadata, key, value = dict(document.metadata), self.score_key, score
        while key in metadata:
            metadata[key], value, key = value, metadata[key], f"previous_{key}"
        return document.model_copy(update={"metadata": {**metadata, key: value}})

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True  # its fields are plain values, and a key among them is refused

    @property
    def lc_attributes(self) -> _Values:
        with suppress(ConfigurationError):  # an object without a plain form: marked as such
            plain = components.plain_part("strategies", self.strategy)
            return {"strategy": plain, "backend": components.plain_part("backends", self.backend)}
        return {}
