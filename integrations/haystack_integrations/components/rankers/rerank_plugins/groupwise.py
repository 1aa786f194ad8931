# SPDX-License-Identifier: Apache-2.0
"""`GroupwiseRanker`: grades for groups of documents."""

from typing import Any

from haystack import component
from haystack.components.generators.chat.types import ChatGenerator
from haystack.utils import ComponentDevice, Secret

from rerank_plugins.components import GROUPWISE_MODEL, AnyBackend, groupwise_strategy

from ._base import HF_TOKEN, Ranker


@component
class GroupwiseRanker(Ranker):
    """Ranks documents by the grades a model gives them in groups.

    Shuffled, overlapping groups are graded from 0 to 10, all at once; a document's score is its
    mean grade, mixed with its place in the retriever's order (``score_kind="grade"``, 0 to 1). An
    answer that cannot be read is missing and not zero.

    Paper: GroupRank, arXiv:2511.11653.

    ### Usage example

    ```python
    from haystack import Document
    from haystack_integrations.components.rankers.rerank_plugins import GroupwiseRanker

    ranker = GroupwiseRanker(model="AQ-MedAI/Diver-GroupRank-7B", top_k=5)
    documents = [Document(content="A flea lives for two months."), Document(content="Cats sleep.")]
    result = ranker.run(query="how long does a flea live?", documents=documents)
    print(result["documents"], result["meta"]["usage"])
    ```
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        backend: AnyBackend | str | dict[str, Any] | None = None,
        chat_generator: ChatGenerator | None = None,
        base_url: str | None = None,
        api_key: Secret | None = None,
        group_size: int = 20,
        interval: int = 10,
        repeats: int = 1,
        weight: float = 0.6,
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
        Creates a GroupwiseRanker. Nothing is loaded before `warm_up` or the first run.

        :param model: A causal language model: a hub id, a folder or a ``.gguf`` file.
        :param backend: Instead of ``model``: a backend, its registered name, or a plain dictionary.
        :param chat_generator: Instead of both: the application's own model. It writes the
            grades.
        :param base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        :param api_key: The server's key. In YAML it is the name of an environment variable.
        :param group_size: Documents in a group.
        :param interval: How far apart the groups begin; below ``group_size`` they overlap.
        :param repeats: How often everything is shuffled and graded.
        :param weight: The weight of the grade against the retriever's order, 0 to 1.
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
            group_size=group_size,
            interval=interval,
            repeats=repeats,
            weight=weight,
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
        named = self._checkpoint(GROUPWISE_MODEL)
        strategy = groupwise_strategy(
            named.model, prompt, size=group_size, interval=interval, repeats=repeats, weight=weight
        )
        self._connect(strategy, named)
