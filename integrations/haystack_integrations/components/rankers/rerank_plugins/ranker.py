# SPDX-License-Identifier: Apache-2.0
"""`FirstRanker` and `PluginRanker`: thin components around `rerank_plugins.Reranker`.

What happens before and after the ranking is written once, in `_Ranker`; ``run`` and ``run_async``
differ in one line.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict, logging
from haystack.tracing.tracer import Span, tracer
from haystack.utils import ComponentDevice, Secret

from rerank_plugins import Ranking, Reranker
from rerank_plugins.data import Strategy
from rerank_plugins.handlers import AnyBackend
from rerank_plugins.integration import (
    FIRST_MODEL,
    Candidates,
    Outcome,
    build_backend,
    candidates,
    check_threshold,
    check_top_k,
    choose_strategy,
    conclude,
    first_strategy,
    model_name,
)
from rerank_plugins.middleware import guarded
from rerank_plugins.registry import to_spec
from rerank_plugins.reranker import OnError

logger = logging.getLogger(__name__)

_HF_TOKEN = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False)


class _Ranker:
    """What both rankers share. Not a component itself."""

    # Set by the subclasses' constructors, under the names of their arguments.
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
        return default_to_dict(self, **values)

    def _set_up(
        self,
        strategy: Strategy | str | Mapping[str, Any],
        backend: AnyBackend,
        limits: Mapping[str, Any] | None,
    ) -> None:
        check_top_k("top_k", self.top_k)
        check_threshold(self.score_threshold)
        on_error: OnError = "raise" if self.raise_on_failure else "keep_order"
        self._reranker = Reranker(strategy, guarded(backend), on_error=on_error, limits=limits)
        self._model = model_name(backend)

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


@component
class FirstRanker(_Ranker):
    """Ranks documents with FIRST: one forward pass orders a window, and no text is generated.

    The order of a window is that of the log-probabilities of its passages' identifiers in the
    model's next token; lists longer than a window are sorted by windows that slide from the bottom
    to the top. Scores are those log-probabilities (``score_kind="logprob"``) for lists that fit one
    window, else reciprocal ranks (``score_kind="rank"``), to which ``score_threshold`` is not
    applied.

    Paper: Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
    arXiv:2406.15657.

    ### Usage example

    ```python
    from haystack import Document
    from haystack_integrations.components.rankers.rerank_plugins import FirstRanker

    ranker = FirstRanker(model="castorini/first_mistral", top_k=5)
    documents = [Document(content="A flea lives for two months."), Document(content="Cats sleep.")]
    result = ranker.run(query="how long does a flea live?", documents=documents)
    print(result["documents"], result["meta"]["usage"])
    ```
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        backend: AnyBackend | str | dict[str, Any] | None = None,
        window: int = 20,
        stride: int = 10,
        prompt: str | None = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        meta_fields_to_embed: list[str] | None = None,
        meta_data_separator: str = "\n",
        device: ComponentDevice | None = None,
        token: Secret | None = _HF_TOKEN,
        backend_options: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        raise_on_failure: bool = False,
    ) -> None:
        """
        Creates a FirstRanker. Nothing is loaded before `warm_up` or the first run.

        :param model: A causal language model: a hub id, a folder or a ``.gguf`` file.
            ``castorini/first_mistral`` when neither ``model`` nor ``backend`` is given.
        :param backend: Instead of ``model``: a backend, its registered name, or a plain dictionary.
        :param window: Documents in a window, 2 to 26.
        :param stride: How far the window moves, at least 1 and below ``window``.
        :param prompt: A prompt's versioned name or a TOML file. By default the one the checkpoint
            was trained with.
        :param top_k: How many documents to return at most; all when None.
        :param score_threshold: The lowest log-probability to return, in nats, for lists that fit
            one window.
        :param meta_fields_to_embed: Meta fields that are put before the content.
        :param meta_data_separator: What stands between them.
        :param device: Where the model runs. By default the best device of the machine that runs it.
        :param token: For private models on the Hugging Face hub.
        :param backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``.
        :param limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        :param raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        :raises ValueError: An argument is out of range, or the model was trained for another way of
            ranking.
        """
        if model is None and backend is None:
            model = FIRST_MODEL
        self.model = model
        self.backend = backend
        self.window = window
        self.stride = stride
        self.prompt = prompt
        self.top_k = top_k
        self.score_threshold = score_threshold
        self.meta_fields_to_embed = list(meta_fields_to_embed or [])
        self.meta_data_separator = meta_data_separator
        self.device = device
        self.token = token
        self.backend_options = backend_options
        self.limits = limits
        self.raise_on_failure = raise_on_failure
        self._set_up(
            first_strategy(model, prompt, window, stride),
            _backend(backend, model, backend_options, device, token),
            limits,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "FirstRanker":
        """
        Deserializes the component from a dictionary.

        :param data: Dictionary to deserialize from.
        :returns: Deserialized component.
        """
        return default_from_dict(cls, data)


@component
class PluginRanker(_Ranker):
    """Ranks documents with any strategy and any backend, of rerank-plugins or of an extension.

    Both are given by name, as plain dictionaries (which is how YAML stores them), or as instances.
    A checkpoint that the library knows needs its name alone.

    ### Usage example

    ```python
    from haystack_integrations.components.rankers.rerank_plugins import PluginRanker

    by_preset = PluginRanker(model="castorini/rank_zephyr_7b_v1_full")
    by_parts = PluginRanker(
        strategy={"name": "blend", "inner": "query-likelihood"},
        backend={"name": "transformers", "model": "HuggingFaceTB/SmolLM2-135M-Instruct"},
    )
    ```
    """

    def __init__(
        self,
        *,
        strategy: Strategy | str | dict[str, Any] | None = None,
        backend: AnyBackend | str | dict[str, Any] | None = None,
        model: str | None = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        drop_unranked: bool = False,
        meta_fields_to_embed: list[str] | None = None,
        meta_data_separator: str = "\n",
        query_prefix: str = "",
        query_suffix: str = "",
        document_prefix: str = "",
        document_suffix: str = "",
        device: ComponentDevice | None = None,
        token: Secret | None = _HF_TOKEN,
        backend_options: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        raise_on_failure: bool = False,
    ) -> None:
        """
        Creates a PluginRanker. Nothing is loaded before `warm_up` or the first run.

        :param strategy: How to rank: a strategy, its registered name, or a plain dictionary. Needed
            unless ``model`` is a known checkpoint.
        :param backend: What answers: a backend, its registered name, or a plain dictionary.
        :param model: Instead of ``backend``: a causal language model in this process, as a hub id,
            a folder or a ``.gguf`` file.
        :param top_k: How many documents to return at most; all when None.
        :param score_threshold: The lowest score to return, in the unit that ``meta["score_kind"]``
            names: raw logits, log-probabilities in nats, probabilities or grades. Not applied to
            ``rank`` scores and to kept orders.
        :param drop_unranked: Leave out the documents that the model's answer left out, instead of
            appending them.
        :param meta_fields_to_embed: Meta fields that are put before the content.
        :param meta_data_separator: What stands between them.
        :param query_prefix: What the model was trained to see before a query, where the strategy's
            prompt lacks it.
        :param query_suffix: The same after a query.
        :param document_prefix: The same before a document.
        :param document_suffix: The same after a document.
        :param device: Where the model runs. By default the best device of the machine that runs it.
        :param token: For private models on the Hugging Face hub.
        :param backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``.
        :param limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        :param raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        :raises ValueError: An argument is out of range, missing or unknown.
        :raises UnknownNameError: No strategy or backend of that name; the message lists those there
            are.
        """
        self.strategy = strategy
        self.backend = backend
        self.model = model
        self.top_k = top_k
        self.score_threshold = score_threshold
        self.drop_unranked = drop_unranked
        self.meta_fields_to_embed = list(meta_fields_to_embed or [])
        self.meta_data_separator = meta_data_separator
        self.query_prefix = query_prefix
        self.query_suffix = query_suffix
        self.document_prefix = document_prefix
        self.document_suffix = document_suffix
        self.device = device
        self.token = token
        self.backend_options = backend_options
        self.limits = limits
        self.raise_on_failure = raise_on_failure
        self._set_up(
            choose_strategy(strategy, model),
            _backend(backend, model, backend_options, device, token),
            limits,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PluginRanker":
        """
        Deserializes the component from a dictionary.

        :param data: Dictionary to deserialize from.
        :returns: Deserialized component.
        """
        return default_from_dict(cls, data)


def _backend(
    backend: Any,
    model: str | None,
    options: dict[str, Any] | None,
    device: ComponentDevice | None,
    token: Secret | None,
) -> AnyBackend:
    return build_backend(
        backend,
        model,
        options,
        device=None if device is None else device.to_torch_str(),
        token=None if token is None else token.resolve_value,
    )


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
