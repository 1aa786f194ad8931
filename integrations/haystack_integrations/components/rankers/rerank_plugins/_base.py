# SPDX-License-Identifier: Apache-2.0
"""The base of all rankers: everything before and after a ranking.

``run`` and ``run_async`` differ in one line.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

from haystack import Document, component, default_from_dict, default_to_dict, logging
from haystack.components.generators.chat.types import ChatGenerator
from haystack.core.serialization import component_to_dict
from haystack.tracing.tracer import Span, tracer
from haystack.utils import ComponentDevice, Secret

from rerank_plugins import InputError, Ranking, Reranker
from rerank_plugins.components import (
    AnyBackend,
    Candidates,
    Checked,
    Checks,
    Named,
    build_backend,
    build_reranker,
    candidates,
    chat_options,
    check_cut,
    check_flag,
    check_names,
    check_text,
    check_threshold,
    check_top_k,
    conclude,
    find_checkpoint,
    listed,
    model_name,
    plain_part,
    refuse_download,
    top_grade,
)

from .chat_generator import ChatGeneratorBackend

logger = logging.getLogger(__name__)

HF_TOKEN = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False)


class Ranker(Checked):
    """Base of all rankers: a reranker, built from the arguments. Not a component itself."""

    _checks: ClassVar[Checks] = {
        "top_k": check_top_k,
        "score_threshold": lambda _, value: check_threshold(value),
        "scale_score": check_flag,
        "cut_at_gap": check_cut,
        "keep_at_least": check_cut,
        "drop_unranked": check_flag,
        "meta_fields_to_embed": check_names,
        "meta_data_separator": check_text,
        "query_prefix": check_text,
        "query_suffix": check_text,
        "document_prefix": check_text,
        "document_suffix": check_text,
    }

    # Kept by `_keep`, from the arguments of a subclass.
    model: Any
    base_url: str | None
    api_key: Secret | None
    backend: AnyBackend | str | dict[str, Any] | None
    chat_generator: ChatGenerator | None
    top_k: int | None
    score_threshold: float | None
    scale_score: bool
    cut_at_gap: bool
    keep_at_least: int
    chunk_words: int | None
    meta_fields_to_embed: list[str]
    meta_data_separator: str
    device: ComponentDevice | None
    token: Secret | None
    backend_options: dict[str, Any] | None
    limits: dict[str, Any] | None
    raise_on_failure: bool

    # Only `PluginRanker` lets its users change these.
    query_prefix = ""
    query_suffix = ""
    document_prefix = ""
    document_suffix = ""
    drop_unranked = False

    _arguments: tuple[str, ...]
    _reranker: Reranker

    def warm_up(self) -> None:
        """Load the model. Does nothing when it is loaded."""
        self._reranker.warm_up()

    async def warm_up_async(self) -> None:
        """Load the model without blocking the event loop. Does nothing when it is loaded."""
        await self._reranker.awarm_up()

    def close(self) -> None:
        """Release the model. The next run loads it again."""
        self._reranker.close()

    async def close_async(self) -> None:
        """Release the model without blocking the event loop. The next run loads it again."""
        await self._reranker.aclose()

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
        scale_score: bool | None = None,
        instruction: str | None = None,
    ) -> dict[str, Any]:
        """Rank documents by relevance to a query.

        Every document is returned once, best first, until ``score_threshold`` and ``top_k`` cut the
        list. Inputs are not changed. If a call to the model fails, the documents it concerns keep
        their order and a warning says why, unless ``raise_on_failure`` is set.

        :param query: The query. A blank query keeps the order.
        :param documents: Documents in the order of the retrievers; of several copies the
            best-scored one is ranked.
        :param top_k: How many documents to return at most, instead of the component's own number.
        :param score_threshold: The lowest score to return, instead of the component's own.
        :param scale_score: Whether to return scores from 0 to 1, instead of the component's own.
        :param instruction: What relevance means for this query, where the model's prompt has a
            place for it.
        :returns: ``documents`` with new scores, and ``meta``: ``model``, ``score_kind``, ``usage``,
            ``fallback``, ``causes``, ``repairs``, ``truncated``, ``irrelevant`` (how many documents
            were left out because the model said that none of them is relevant, where the strategy
            has ``allow_none``), ``skipped`` and ``unscored`` (1 where the strategy ``when`` ranked
            nothing, and the documents without the score that it goes by), ``duplicates_removed``,
            ``retriever_scores`` (what the documents' own scores are, by how they run along the
            list: ``similarity``, ``distance``, ``unknown``, ``incomplete``, ``none``),
            ``score_scaled``, ``score_threshold_applied``, ``cut`` (how many documents the threshold
            and the gap left out).
        :raises ValueError: ``top_k`` is not positive, ``documents`` is not a list of them, or
            there is an instruction and no place for it in the prompt.
        :raises RerankError: A call failed and ``raise_on_failure`` is set, or the set-up is wrong.
        """
        limits = self._limits(top_k, score_threshold, scale_score)
        documents = listed("documents", documents, Document)
        found = self._candidates(documents)
        with tracer.trace("rerank_plugins.rank", tags=self._tags(documents)) as span:
            reranker = self._reranker_for(limits[0])
            ranking = reranker.rank(self._query(query), found.texts, instruction=instruction)
            return self._result(ranking, documents, found, limits, span)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
        scale_score: bool | None = None,
        instruction: str | None = None,
    ) -> dict[str, Any]:
        """`run` without blocking the event loop: a local model works in a thread of its own.

        :param query: The query. A blank query keeps the order.
        :param documents: Documents in the order of the retrievers.
        :param top_k: How many documents to return at most, instead of the component's own number.
        :param score_threshold: The lowest score to return, instead of the component's own.
        :param scale_score: Whether to return scores from 0 to 1, instead of the component's own.
        :param instruction: What relevance means for this query, where the model's prompt has a
            place for it.
        :returns: The outputs of ``run``.
        :raises ValueError: ``top_k`` is not positive, ``documents`` is not a list of them, or
            there is an instruction and no place for it in the prompt.
        :raises RerankError: A call failed and ``raise_on_failure`` is set, or the set-up is wrong.
        """
        limits = self._limits(top_k, score_threshold, scale_score)
        documents = listed("documents", documents, Document)
        found = self._candidates(documents)
        with tracer.trace("rerank_plugins.rank", tags=self._tags(documents)) as span:
            reranker = self._reranker_for(limits[0])
            ranking = await reranker.arank(self._query(query), found.texts, instruction=instruction)
            return self._result(ranking, documents, found, limits, span)

    def to_dict(self) -> dict[str, Any]:
        """
        Serializes the component to a dictionary.

        :returns: Dictionary with serialized data.
        :raises ConfigurationError: The strategy or the backend is an object that has no plain form.
        """
        values = {name: getattr(self, name) for name in self._arguments}
        values["backend"] = plain_part("backends", self.backend)
        if "strategy" in values:
            values["strategy"] = plain_part("strategies", values["strategy"])
        if self.chat_generator is not None:
            values["chat_generator"] = component_to_dict(self.chat_generator, "chat_generator")
        return default_to_dict(self, **values)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """
        Deserializes the component from a dictionary.

        :param data: Dictionary to deserialize from.
        :returns: Deserialized component.
        """
        return default_from_dict(cls, data)

    def _keep(self, **arguments: Any) -> None:
        """Keep a constructor's arguments under their names, for `to_dict`."""
        self._arguments = tuple(arguments)
        for name, value in arguments.items():
            setattr(self, name, value)
        self.meta_fields_to_embed = list(self.meta_fields_to_embed or [])

    def _checkpoint(self, suggested: str) -> Named:
        """Find what the arguments name, for a ranker with a strategy of its own."""
        if self.chat_generator is not None:
            return Named(model=self.model, strategy=None, backend=self.backend)
        given = (self.model, self.base_url, self.backend)
        refuse_download(type(self).__name__, suggested, "chat_generator", given)
        return find_checkpoint(
            self.backend, self.model, base_url=self.base_url, api_key=self._key()
        )

    def _key(self) -> Callable[[], str | None] | None:
        """Gives the server's key, when it is needed."""
        return self.api_key.resolve_value if isinstance(self.api_key, Secret) else None

    def _connect(self, strategy: Any, named: Named) -> None:
        """Connect a strategy with the backend that the arguments describe."""
        for name in ("api_key", "token"):
            if not isinstance(given := getattr(self, name), Secret | None):
                raise InputError(
                    f"{name} is of type {type(given).__name__}, expected a Secret",
                    hint='Give haystack.utils.Secret.from_env_var("NAME").',
                )
        if not isinstance(self.device, ComponentDevice | None):
            raise InputError(
                f"device is {self.device!r}, expected a ComponentDevice",
                hint='Give haystack.utils.ComponentDevice.from_str("cpu").',
            )
        if self.chat_generator is None:
            backend = build_backend(
                named.backend,
                self.backend_options,
                device=None if self.device is None else self.device.to_torch_str(),
                token=None if self.token is None else self.token.resolve_value,
                api_key=self._key(),
            )
        else:
            names = ("model", "backend", "base_url", "api_key", "device")
            others = {name: getattr(self, name) for name in names}
            options = chat_options("chat_generator", self.backend_options, others)
            backend = ChatGeneratorBackend(self.chat_generator, **options)
        self._reranker = build_reranker(
            strategy,
            backend,
            raise_on_failure=self.raise_on_failure,
            limits=self.limits if named.limits is None else named.limits,
            chunk_words=self.chunk_words,
        )
        self._model = model_name(backend)
        self._fix()

    def _reranker_for(self, top_k: int | None) -> Reranker:  # noqa: ARG002 - for subclasses
        """The reranker for a run that returns ``top_k`` documents; all when None."""
        return self._reranker

    def _limits(
        self, top_k: int | None, threshold: float | None, scale: bool | None
    ) -> tuple[int | None, float | None, bool]:
        check_top_k("top_k", top_k)
        check_threshold(threshold)
        if scale is not None:
            check_flag("scale_score", scale)
        return (
            self.top_k if top_k is None else top_k,
            self.score_threshold if threshold is None else threshold,
            self.scale_score if scale is None else scale,
        )

    def _query(self, query: Any) -> Any:
        if not isinstance(query, str) or not query.strip():
            return (
                query  # the core refuses what is not a string, and keeps the order if it is blank
            )
        return f"{self.query_prefix}{query}{self.query_suffix}"

    def _candidates(self, documents: list[Document]) -> Candidates:
        texts = []
        for document in documents:
            known = document.meta or {}
            values = [known.get(name) for name in self.meta_fields_to_embed or ()]
            parts = [*(str(v) for v in values if v not in (None, "")), document.content or ""]
            text = self.meta_data_separator.join(parts)
            texts.append(f"{self.document_prefix}{text}{self.document_suffix}")
        return candidates([d.id for d in documents], texts, [d.score for d in documents])

    def _tags(self, documents: list[Document]) -> dict[str, Any]:
        return {
            "rerank_plugins.model": self._model,
            "rerank_plugins.documents": len(documents),
        }

    def _result(
        self,
        ranking: Ranking,
        documents: list[Document],
        found: Candidates,
        limits: tuple[int | None, float | None, bool],
        span: Span,
    ) -> dict[str, Any]:
        top_k, threshold, scale = limits
        outcome = conclude(
            ranking,
            found,
            top_k=top_k,
            score_threshold=threshold,
            cut_at_gap=self.cut_at_gap,
            keep_at_least=self.keep_at_least,
            drop_unranked=self.drop_unranked,
            scale_score=scale,
            top_grade=top_grade(self._reranker.strategy),
        )
        usage = outcome.meta["usage"]
        span.set_tag("rerank_plugins.score_kind", outcome.meta["score_kind"])
        span.set_tag("rerank_plugins.fallback", outcome.meta["fallback"])
        span.set_tag("rerank_plugins.calls", usage["calls"])
        span.set_tag("rerank_plugins.loading_seconds", usage["loading_seconds"])
        span.set_tag("gen_ai.usage.input_tokens", usage["prompt_tokens"])
        span.set_tag("gen_ai.usage.output_tokens", usage["generated_tokens"])
        if outcome.warning:
            logger.warning(
                "{component}: {warning}", component=type(self).__name__, warning=outcome.warning
            )
        ranked = [replace(documents[i], score=score) for i, score in outcome.lines]
        return {"documents": ranked, "meta": {"model": self._model, **outcome.meta}}
