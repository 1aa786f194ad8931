# SPDX-License-Identifier: Apache-2.0
"""`PointwiseRanker`: a score for each document on its own."""

from typing import Any

from haystack import component
from haystack.components.generators.chat.types import ChatGenerator
from haystack.utils import ComponentDevice, Secret

from rerank_plugins.components import POINTWISE_MODEL, AnyBackend, pointwise_strategy

from ._base import HF_TOKEN, Ranker


@component
class PointwiseRanker(Ranker):
    """Ranks documents by a score that each gets on its own.

    The model's training decides how: the log-odds of "yes" (Qwen3-Reranker, monoT5), a
    grade times its probability (ERank), or the logit of a cross-encoder (DeAR, MiniLM, bge). A
    model that the library does not know is asked for yes or no. Scores are logits or grades,
    comparable between queries.

    ### Usage example

    ```python
    from haystack import Document
    from haystack_integrations.components.rankers.rerank_plugins import PointwiseRanker

    ranker = PointwiseRanker(model="Qwen/Qwen3-Reranker-0.6B", top_k=5)
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
        prompt: str | None = None,
        instruction: str | None = None,
        expectation: bool = False,
        hybrid: float | None = None,
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
        Creates a PointwiseRanker. Nothing is loaded before `warm_up` or the first run.

        :param model: A hub id, a folder or a ``.gguf`` file: a known checkpoint, or any causal
            language model.
        :param backend: Instead of ``model``: a backend, its registered name, or a plain dictionary.
        :param chat_generator: Instead of both: the application's own model. It has to report
            log-probabilities, except with a prompt that asks for grades.
        :param base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        :param api_key: The server's key. In YAML it is the name of an environment variable.
        :param prompt: A pointwise prompt's versioned name or a TOML file. By default the one the
            checkpoint was trained with.
        :param instruction: What relevance means here, if the prompt has a place for it.
        :param expectation: With a prompt that asks for grades: score by the mean grade under the
            model's distribution.
        :param hybrid: The weight of the documents' own scores, 0 to 1: both are mixed as z-scores.
            None ranks by the model alone.
        :param top_k: How many documents to return at most; all when None.
        :param score_threshold: The lowest score to return, in the unit of the model's own scores,
            also with ``hybrid``. Not applied to ``rank`` scores and to kept orders.
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
            prompt=prompt,
            instruction=instruction,
            expectation=expectation,
            hybrid=hybrid,
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
        named = self._checkpoint(POINTWISE_MODEL)
        strategy = pointwise_strategy(
            named.model, prompt, instruction, expectation=expectation, hybrid=hybrid
        )
        self._connect(strategy, named)
