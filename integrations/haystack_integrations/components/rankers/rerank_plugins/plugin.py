# SPDX-License-Identifier: Apache-2.0
"""`PluginRanker`: any strategy over any backend."""

from typing import Any

from haystack import component
from haystack.components.generators.chat.types import ChatGenerator
from haystack.utils import ComponentDevice, Secret

from rerank_plugins.components import AnyBackend, choose_strategy
from rerank_plugins.ranking import Strategy

from ._base import HF_TOKEN, Ranker


@component
class PluginRanker(Ranker):
    """Ranks documents with any strategy and any backend, of rerank-plugins or of an extension.

    Both are given by name, as plain dictionaries (which is how YAML stores them), or as instances.
    A checkpoint that the library knows needs its name alone.

    ### Usage example

    ```python
    from haystack_integrations.components.rankers.rerank_plugins import PluginRanker

    by_preset = PluginRanker(preset="castorini/rank_zephyr_7b_v1_full")
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
        chat_generator: ChatGenerator | None = None,
        preset: str | None = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        scale_score: bool = False,
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

        :param strategy: A strategy, its registered name, or a plain dictionary. Needed unless
            ``model`` or ``preset`` is a known checkpoint.
        :param backend: A backend, its registered name, or a plain dictionary.
        :param model: Instead of ``backend``: a causal language model in this process, as a hub id,
            a folder or a ``.gguf`` file.
        :param chat_generator: Instead of both: the application's own model. It answers strategies
            that ask for identifiers or for text, but not for likelihoods or pair scores.
        :param preset: A known checkpoint. Alone, it is loaded from the hub; with ``model``, that is
            a copy of it; with the others, it gives the strategy.
        :param top_k: How many documents to return at most; all when None.
        :param score_threshold: The lowest score to return, in the unit of the model's own scores
            (raw logits, log-probabilities in nats, probabilities or grades), also where they are
            mixed with the documents'. Not applied to ``rank`` scores and to kept orders.
        :param scale_score: Return scores from 0 to 1: the sigmoid of logits, ``exp`` of log-
            probabilities, grades over their range. ``rank`` scores and mixed ones have no such
            scale: they stay as they are, and a warning says so.
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
        self._keep(
            model=model,
            backend=backend,
            chat_generator=chat_generator,
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
            meta_fields_to_embed=meta_fields_to_embed,
            meta_data_separator=meta_data_separator,
            device=device,
            token=token,
            backend_options=backend_options,
            limits=limits,
            raise_on_failure=raise_on_failure,
        )
        self._connect(choose_strategy(strategy, model, preset), preset)
