# SPDX-License-Identifier: Apache-2.0
"""`FullListRanker`: all documents in one prompt of a long context."""

from typing import Any

from haystack import component
from haystack.components.generators.chat.types import ChatGenerator
from haystack.utils import ComponentDevice, Secret

from rerank_plugins import Reranker
from rerank_plugins.components import (
    FULL_LIST_MODEL,
    AnyBackend,
    full_list_strategy,
    ordering_at_least,
)
from rerank_plugins.strategies import Read

from ._base import HF_TOKEN, Ranker


@component
class FullListRanker(Ranker):
    """Ranks all documents in one prompt of a model with a long context.

    The model writes the order and stops after the first ``top_m`` documents (``read="written"``, as
    RankMistral100), writes it under a constraint that nothing but an order fits
    (``"constrained"``), or gives all of it by the log-probabilities of one token
    (``"single-token"``). Scores are of kind ``rank``; for ``"single-token"`` they are those
    log-probabilities.

    Paper: Liu et al., Sliding Windows Are Not the End, arXiv:2412.14574.

    ### Usage example

    ```python
    from haystack import Document
    from haystack_integrations.components.rankers.rerank_plugins import FullListRanker

    ranker = FullListRanker(model="liuwenhan/RankMistral100", top_k=5)
    documents = [Document(content="A flea lives for two months."), Document(content="Cats sleep.")]
    result = ranker.run(query="how long does a flea live?", documents=documents)
    print(result["documents"], result["meta"]["usage"])
    ```
    """

    top_m: int | None

    def __init__(
        self,
        model: str | None = None,
        *,
        backend: AnyBackend | str | dict[str, Any] | None = None,
        chat_generator: ChatGenerator | None = None,
        base_url: str | None = None,
        api_key: Secret | None = None,
        read: Read = "written",
        top_m: int | None = None,
        allow_none: bool = False,
        prompt: str | None = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        scale_score: bool = False,
        cut_at_gap: bool = False,
        keep_at_least: int = 0,
        chunk_words: int | None = None,
        meta_fields_to_embed: list[str] | None = None,
        meta_data_separator: str = "\n",
        device: ComponentDevice | None = None,
        token: Secret | None = HF_TOKEN,
        backend_options: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        raise_on_failure: bool = False,
    ) -> None:
        """
        Creates a FullListRanker. Nothing is loaded before `warm_up` or the first run.

        :param model: A causal language model: a hub id, a folder or a ``.gguf`` file.
        :param backend: Instead of ``model``: a backend, its registered name, or a plain dictionary.
        :param chat_generator: Instead of both: the application's own model. It writes the
            order (``read="written"``).
        :param base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        :param api_key: The server's key. In YAML it is the name of an environment variable.
        :param read: ``"written"``, ``"constrained"`` or ``"single-token"``.
        :param top_m: How many documents the model puts in order, by default ``top_k``; the others
            follow in their order.
        :param allow_none: Whether the model may say that no document is relevant (``none``, ``[]``
            or a short sentence; for ``read="written"``, with a prompt that asks for it). Then no
            document is returned, and ``meta["irrelevant"]`` has their number.
        :param prompt: A prompt's versioned name or a TOML file. By default the one the checkpoint
            was trained with.
        :param top_k: How many documents to return at most; all when None.
        :param score_threshold: The lowest score to return, in the unit that ``meta["score_kind"]``
            names. Not applied to ``rank`` scores and to kept orders.
        :param scale_score: Return scores from 0 to 1: the sigmoid of logits, ``exp`` of log-
            probabilities, grades over their range. ``rank`` scores and mixed ones have no such
            scale: they stay as they are, and a warning says so.
        :param cut_at_gap: Return what stands above the largest drop of the scores. Not applied to
            ``rank`` scores.
        :param keep_at_least: How many documents the threshold and the gap leave in any case.
        :param chunk_words: For documents that are longer than what the model reads: cut them into
            chunks of so many words, and judge each document by its best chunk.
        :param meta_fields_to_embed: Meta fields that are put before the content.
        :param meta_data_separator: The separator between them.
        :param device: Where the model runs. By default the best device of the machine that runs it.
        :param token: For private models on the Hugging Face hub.
        :param backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``;
            ``{"max_concurrency": 4}`` for a chat generator.
        :param limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        :param raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        :raises ValueError: Nothing names a model, an argument is out of range, or the model was
            trained for another way of ranking.
        """
        self._keep(
            model=model,
            backend=backend,
            chat_generator=chat_generator,
            base_url=base_url,
            api_key=api_key,
            read=read,
            top_m=top_m,
            allow_none=allow_none,
            prompt=prompt,
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
        named = self._checkpoint(FULL_LIST_MODEL)
        strategy = full_list_strategy(named.model, prompt, read, top_m, top_k, allow_none)
        self._connect(strategy, named)

    def _reranker_for(self, top_k: int | None) -> Reranker:
        if self.top_m is not None:
            return self._reranker
        return ordering_at_least(self._reranker, top_k)
