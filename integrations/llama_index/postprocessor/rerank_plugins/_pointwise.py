"""`PointwiseRerank`: a score for each node on its own."""

from typing import Any, ClassVar, Optional

from llama_index.core.bridge.pydantic import Field

from rerank_plugins.components import POINTWISE_MODEL, Named, pointwise_strategy
from rerank_plugins.ranking import Strategy

from ._base import Rerank


class PointwiseRerank(Rerank):
    """Reranks nodes by a score that each gets on its own.

    The model's training decides how: the log-odds of "yes" (Qwen3-Reranker, monoT5), a
    grade times its probability (ERank), or the logit of a cross-encoder (DeAR, MiniLM, bge). A
    model that the library does not know is asked for yes or no. Scores are logits or grades,
    comparable between queries.
    Failures are handled as in `FirstRerank`.

    Args:
        model: A known checkpoint, or any causal language model: a hub id, a folder or a ``.gguf``
            file.
        backend: Instead of ``model``: a backend, its registered name, or a dictionary.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. It has to report log-probabilities, except with a prompt
            that asks for grades.
        base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        api_key: The server's key, or a function that gives it. Never stored: after loading, give
            it again, or ``backend_options={"api_key_env": "NAME"}``.
        prompt: A pointwise prompt's versioned name, a TOML file, or a dictionary. By default the
            one the checkpoint was trained with.
        instruction: What relevance means here, if the prompt has a place for it; that of an
            `InstructedQuery` replaces it.
        expectation: With a prompt that asks for grades: score by the mean grade under the model's
            distribution.
        hybrid: The weight of the nodes' own scores, 0 to 1: both are mixed as z-scores. None ranks
            by the model alone.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the model's own scores, also
            where they are mixed with the nodes'; not applied to scores that only number the places,
            nor to a kept order.
        scale_score: Return scores from 0 to 1: the sigmoid of logits, ``exp`` of log-probabilities,
            grades over their range. Places and mixed scores have no such scale: they stay as they
            are, and a warning says so.
        cut_at_gap: Return what stands above the largest drop of the scores; not applied to scores
            that only number the places.
        keep_at_least: How many nodes the threshold and the gap leave in any case.
        chunk_words: For nodes that are longer than what the model reads: cut them into chunks of so
            many words, and judge each node by its best chunk.
        metadata_mode: Which metadata the model reads with each node.
        device: Where the model runs; the best device of the machine when None.
        backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``;
            ``{"max_concurrency": 4}`` for an LLM.
        limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        callback_manager: The framework's own; query engines set it.

    Raises:
        ValueError: Nothing names a model, an argument is out of range, or the model was trained for
            another way of ranking.

    Examples:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> reranker = PointwiseRerank(backend=overlap, top_n=1)
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a dog", "a flea")]
        >>> reranker.postprocess_nodes(nodes, query_str="flea")[0].node.get_content()
        'a flea'
    """

    prompt: Any = Field(default=None, frozen=True, description="A name, a file or a dictionary.")
    instruction: Optional[str] = Field(
        default=None, frozen=True, description="What relevance means here."
    )
    expectation: bool = Field(default=False, frozen=True, description="Score by the mean grade.")
    hybrid: Optional[float] = Field(
        default=None, frozen=True, description="The weight of the nodes' own scores."
    )

    _suggested: ClassVar[str] = POINTWISE_MODEL

    def _strategy(self, named: Named) -> Strategy:
        return pointwise_strategy(
            named.model,
            self.prompt,
            self.instruction,
            expectation=self.expectation,
            hybrid=self.hybrid,
        )

    @classmethod
    def class_name(cls) -> str:
        return "PointwiseRerank"
