# SPDX-License-Identifier: Apache-2.0
"""`PluginRanker`: any strategy over any backend."""

from typing import Any

from haystack import component
from haystack.components.generators.chat.types import ChatGenerator
from haystack.utils import ComponentDevice, Secret

from rerank_plugins.components import DEFAULT_PRESET, UNTRAINED, AnyBackend, find_parts
from rerank_plugins.ranking import Strategy

from ._base import HF_TOKEN, Ranker


@component
class PluginRanker(Ranker):
    """Ranks documents with any strategy and any backend, of rerank-plugins or of an extension.

    One name is enough: of a checkpoint, a folder, a file, a server, or a spec, as of
    `rerank_plugins.load_reranker`. Or give the parts: by name, as plain dictionaries (which is how
    YAML stores them), or as instances.

    ### Usage example

    ```python
    from haystack_integrations.components.rankers.rerank_plugins import PluginRanker

    default = PluginRanker(top_k=5)  # small, offline, without torch
    checkpoint = PluginRanker("rank_zephyr_7b_v1_full")
    on_a_server = PluginRanker("first_mistral", base_url="http://localhost:8000/v1")
    by_parts = PluginRanker(
        strategy={"name": "blend", "inner": "query-likelihood"},
        backend={"name": "transformers", "model": "HuggingFaceTB/SmolLM2-135M-Instruct"},
    )
    ```
    """

    def __init__(
        self,
        model: str | dict[str, Any] | None = None,
        *,
        strategy: Strategy | str | dict[str, Any] | None = None,
        backend: AnyBackend | str | dict[str, Any] | None = None,
        chat_generator: ChatGenerator | None = None,
        base_url: str | None = None,
        api_key: Secret | None = None,
        preset: str | None = None,
        base: str | None = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        scale_score: bool = False,
        cut_at_gap: bool = False,
        keep_at_least: int = 0,
        chunk_words: int | None = None,
        drop_unranked: bool = False,
        meta_fields_to_embed: list[str] | None = None,
        meta_data_separator: str = "\n",
        query_prefix: str = "",
        query_suffix: str = "",
        document_prefix: str = "",
        document_suffix: str = "",
        device: ComponentDevice | None = None,
        token: Secret | None = HF_TOKEN,
        backend_options: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        raise_on_failure: bool = False,
    ) -> None:
        """
        Creates a PluginRanker. Nothing is loaded before `warm_up` or the first run.

        :param model: A checkpoint that the library knows, with or without its organisation; a
            folder or a ``.gguf`` file; any hub id, with ``strategy``; the address of a server; a
            spec, or the name of a spec file. By default the small encoder that comes with the
            library.
        :param strategy: A strategy, its registered name, or a plain dictionary, instead of the
            model's own. ``"first"`` is FIRST.
        :param backend: Instead of ``model``: a backend, its registered name, or a plain dictionary.
        :param chat_generator: Instead of both: the application's own model. It answers strategies
            that ask for identifiers or for text, but not for likelihoods or pair scores. Without
            a strategy it is asked as in FIRST, and writes the order if it reports no
            log-probabilities.
        :param base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        :param api_key: The server's key. In YAML it is the name of an environment variable.
        :param preset: A known checkpoint. Alone, it is loaded from the hub; with ``model``, that is
            a copy of it; with the others, it gives the strategy.
        :param base: The model under an adapter, if it is not the one that the adapter names.
        :param top_k: How many documents to return at most; all when None.
        :param score_threshold: The lowest score to return, in the unit of the model's own scores
            (raw logits, log-probabilities in nats, probabilities or grades), also where they are
            mixed with the documents'. Not applied to ``rank`` scores and to kept orders.
        :param scale_score: Return scores from 0 to 1: the sigmoid of logits, ``exp`` of log-
            probabilities, grades over their range. ``rank`` scores and mixed ones have no such
            scale: they stay as they are, and a warning says so.
        :param cut_at_gap: Return what stands above the largest drop of the scores. Not applied to
            ``rank`` scores.
        :param keep_at_least: How many documents the threshold and the gap leave in any case.
        :param chunk_words: For documents that are longer than what the model reads: cut them into
            chunks of so many words, and judge each document by its best chunk.
        :param drop_unranked: Leave out the documents that the model's answer left out, instead of
            appending them.
        :param meta_fields_to_embed: Meta fields that are put before the content.
        :param meta_data_separator: The separator between them.
        :param query_prefix: Text before every query, for a model that was trained with one and a
            prompt that lacks it.
        :param query_suffix: Text after every query.
        :param document_prefix: Text before every document.
        :param document_suffix: Text after every document.
        :param device: Where the model runs. By default the best device of the machine that runs it.
        :param token: For private models on the Hugging Face hub.
        :param backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``;
            ``{"max_concurrency": 4}`` for a chat generator.
        :param limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        :param raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        :raises ValueError: An argument is out of range, missing or unknown.
        :raises UnknownNameError: No strategy or backend of that name; the message lists those there
            are.
        """
        parts = (model, strategy, backend, chat_generator, preset, base_url)
        if all(part is None for part in parts):
            model = DEFAULT_PRESET
        self._keep(
            model=model,
            backend=backend,
            chat_generator=chat_generator,
            base_url=base_url,
            api_key=api_key,
            base=base,
            strategy=strategy,
            preset=preset,
            drop_unranked=drop_unranked,
            query_prefix=query_prefix,
            query_suffix=query_suffix,
            document_prefix=document_prefix,
            document_suffix=document_suffix,
            top_k=top_k,
            score_threshold=score_threshold,
            scale_score=scale_score,
            cut_at_gap=cut_at_gap,
            keep_at_least=keep_at_least,
            chunk_words=chunk_words,
            meta_fields_to_embed=meta_fields_to_embed,
            meta_data_separator=meta_data_separator,
            device=device,
            token=token,
            backend_options=backend_options,
            limits=limits,
            raise_on_failure=raise_on_failure,
        )
        if chat_generator is None:
            key = self._key()
            named = find_parts(
                backend,
                model,
                preset=preset,
                strategy=strategy,
                base=base,
                base_url=base_url,
                api_key=key,
                limits=limits,
            )
        else:
            usual = UNTRAINED if strategy is None and preset is None else strategy
            named = find_parts("chat", None, preset=preset, strategy=usual)
        self._connect(named.with_strategy(), named)
