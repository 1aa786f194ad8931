# SPDX-License-Identifier: Apache-2.0
"""What happens before and after a ranking, for every ranker.

``run`` and ``run_async`` differ in one line.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from haystack import Document, component, default_to_dict, logging
from haystack.components.generators.chat.types import ChatGenerator
from haystack.core.serialization import component_to_dict
from haystack.tracing.tracer import Span, tracer
from haystack.utils import ComponentDevice, Secret

from rerank_plugins import InputError, Ranking, Reranker
from rerank_plugins.components import (
    Candidates,
    Outcome,
    build_backend,
    candidates,
    check_threshold,
    check_top_k,
    conclude,
    model_name,
)
from rerank_plugins.handlers import AnyBackend
from rerank_plugins.middleware import guarded
from rerank_plugins.ranking import Strategy
from rerank_plugins.registry import to_spec
from rerank_plugins.reranker import OnError

from .chat_generator import ChatGeneratorBackend

logger = logging.getLogger(__name__)

HF_TOKEN = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False)


class Ranker:
    """What all rankers share. Not a component itself."""

    # Set by `_keep` from the arguments of the subclasses' constructors.
    model: str | None
    backend: AnyBackend | str | dict[str, Any] | None
    chat_generator: ChatGenerator | None
    backend_options: dict[str, Any] | None
    device: ComponentDevice | None
    token: Secret | None
    limits: dict[str, Any] | None
    top_k: int | None
    score_threshold: float | None
    meta_fields_to_embed: list[str]
    meta_data_separator: str
    raise_on_failure: bool

    # What only `PluginRanker` lets its users change.
    query_prefix = ""
    query_suffix = ""
    document_prefix = ""
    document_suffix = ""
    drop_unranked = False

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
    ) -> dict[str, Any]:
        """Rank documents by relevance to a query.

        Every document comes back once, best first, until ``score_threshold`` and ``top_k`` cut the
        list. Inputs are not changed. When a call to the model fails, the documents it concerns keep
        their order and a warning says why, unless ``raise_on_failure`` is set.

        :param query: What is asked. A blank query keeps the order.
        :param documents: Documents in the order of the retrievers; of several copies the
            best-scored one is ranked.
        :param top_k: How many documents to return at most, instead of the component's own number.
        :param score_threshold: The lowest score to return, instead of the component's own.
        :returns: ``documents`` with new scores, and ``meta``: ``model``, ``score_kind``, ``usage``,
            ``fallback``, ``causes``, ``repairs``, ``truncated``, ``duplicates_removed``,
            ``score_threshold_applied``.
        :raises ValueError: ``top_k`` is not positive.
        :raises RerankError: A call failed and ``raise_on_failure`` is set, or the set-up is wrong.
        """
        limits = self._limits(top_k, score_threshold)
        found = self._candidates(documents)
        with self._span(len(documents)) as span:
            ranking = self._reranker.rank(self._query(query), found.texts)
            return self._result(ranking, documents, found, limits, span)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """`run` without blocking the event loop: a local model works in a thread of its own.

        :param query: As for ``run``.
        :param documents: As for ``run``.
        :param top_k: As for ``run``.
        :param score_threshold: As for ``run``.
        :returns: As for ``run``.
        :raises ValueError: As for ``run``.
        :raises RerankError: As for ``run``.
        """
        limits = self._limits(top_k, score_threshold)
        found = self._candidates(documents)
        with self._span(len(documents)) as span:
            ranking = await self._reranker.arank(self._query(query), found.texts)
            return self._result(ranking, documents, found, limits, span)

    def to_dict(self) -> dict[str, Any]:
        """
        Serializes the component to a dictionary.

        :returns: Dictionary with serialized data.
        :raises ConfigurationError: The strategy or the backend is an object that has no plain form.
        """
        names = inspect.signature(type(self).__init__).parameters
        values = {name: getattr(self, name) for name in names if name != "self"}
        for name, group in (("strategy", "strategies"), ("backend", "backends")):
            if name in values:
                values[name] = _plain(group, values[name])
        if self.chat_generator is not None:
            values["chat_generator"] = component_to_dict(self.chat_generator, "chat_generator")
        return default_to_dict(self, **values)

    def _keep(self, arguments: Mapping[str, Any]) -> None:
        """Keep the constructor's arguments under their names, where `to_dict` finds them."""
        for name in inspect.signature(type(self).__init__).parameters:
            if name != "self":
                setattr(self, name, arguments[name])
        self.meta_fields_to_embed = list(self.meta_fields_to_embed or [])
        check_top_k("top_k", self.top_k)
        check_threshold(self.score_threshold)

    def _set_up(
        self, strategy: Strategy | str | Mapping[str, Any], preset: str | None = None
    ) -> None:
        """Connect a strategy with the backend that the arguments describe."""
        backend = self._backend(preset)
        on_error: OnError = "raise" if self.raise_on_failure else "keep_order"
        self._reranker = Reranker(strategy, guarded(backend), on_error=on_error, limits=self.limits)
        self._model = model_name(backend)

    def _backend(self, preset: str | None) -> AnyBackend:
        if self.chat_generator is None:
            return build_backend(
                self.backend,
                self.model,
                self.backend_options,
                preset=preset,
                device=None if self.device is None else self.device.to_torch_str(),
                token=None if self.token is None else self.token.resolve_value,
            )
        for name in ("model", "backend", "device"):
            if getattr(self, name) is not None:
                raise InputError(f"give either {name}= or chat_generator=, and not both")
        options = dict(self.backend_options or {})
        if unknown := sorted(set(options) - {"max_concurrency"}):
            raise InputError(
                f"a chat generator takes no {unknown}", hint="It takes max_concurrency."
            )
        return ChatGeneratorBackend(self.chat_generator, **options)

    def _limits(
        self, top_k: int | None, threshold: float | None
    ) -> tuple[int | None, float | None]:
        check_top_k("top_k", top_k)
        check_threshold(threshold)
        return (
            self.top_k if top_k is None else top_k,
            self.score_threshold if threshold is None else threshold,
        )

    def _query(self, query: Any) -> Any:
        if not isinstance(query, str) or not query.strip():
            return query  # the core refuses the one and keeps the order of the other
        return f"{self.query_prefix}{query}{self.query_suffix}"

    def _candidates(self, documents: list[Document]) -> Candidates:
        return candidates(
            [d.id for d in documents],
            [self._text(d) for d in documents],
            [d.score for d in documents],
        )

    def _text(self, document: Document) -> str:
        values = [document.meta.get(name) for name in self.meta_fields_to_embed]
        parts = [*(str(v) for v in values if v is not None), document.content or ""]
        return f"{self.document_prefix}{self.meta_data_separator.join(parts)}{self.document_suffix}"

    @contextmanager
    def _span(self, n: int) -> Iterator[Span]:
        tags = {"rerank_plugins.model": self._model, "rerank_plugins.documents": n}
        with tracer.trace("rerank_plugins.rank", tags=tags) as span:
            yield span

    def _result(
        self,
        ranking: Ranking,
        documents: list[Document],
        found: Candidates,
        limits: tuple[int | None, float | None],
        span: Span,
    ) -> dict[str, Any]:
        top_k, threshold = limits
        outcome = conclude(
            ranking, found, top_k=top_k, score_threshold=threshold, drop_unranked=self.drop_unranked
        )
        for name, value in _span_tags(outcome).items():
            span.set_tag(name, value)
        if outcome.warning:
            logger.warning(
                "{component}: {warning}", component=type(self).__name__, warning=outcome.warning
            )
        ranked = [replace(documents[i], score=score) for i, score in outcome.lines]
        return {"documents": ranked, "meta": {"model": self._model, **outcome.meta}}


def _plain(group: Any, part: Any) -> Any:
    """A strategy or a backend as YAML stores it."""
    return part if part is None or isinstance(part, str | dict) else to_spec(group, part)


def _span_tags(outcome: Outcome) -> dict[str, Any]:
    usage = outcome.meta["usage"]
    return {
        "rerank_plugins.score_kind": outcome.meta["score_kind"],
        "rerank_plugins.fallback": outcome.meta["fallback"],
        "rerank_plugins.calls": usage["calls"],
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["generated_tokens"],
    }
