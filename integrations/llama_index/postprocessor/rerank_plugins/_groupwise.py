"""`GroupwiseRerank`: grades for groups of nodes."""

from typing import Any, ClassVar

from llama_index.core.bridge.pydantic import Field

from rerank_plugins.components import GROUPWISE_MODEL, Named, groupwise_strategy
from rerank_plugins.strategies import Groupwise

from ._base import Rerank


class GroupwiseRerank(Rerank):
    """Reranks nodes by the grades a model gives them in groups.

    Shuffled, overlapping groups are graded from 0 to 10, all at once; a node's score is its mean
    grade, mixed with its place in the retriever's order, from 0 to 1. An answer that cannot be read
    is missing and not zero.
    Failures are handled as in `FirstRerank`.

    Args:
        model: A causal language model: a hub id, a folder or a ``.gguf`` file.
        backend: Instead of ``model``: a backend, its registered name, or a dictionary.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. It writes the grades.
        base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        api_key: The server's key, or a function that gives it. Never stored: after loading, give
            it again, or ``backend_options={"api_key_env": "NAME"}``.
        group_size: Nodes in a group.
        interval: How far apart the groups begin; below ``group_size`` they overlap.
        repeats: How often everything is shuffled and graded.
        weight: The weight of the grade against the retriever's order, 0 to 1.
        prompt: A prompt's versioned name, a TOML file, or a dictionary. By default the one the
            checkpoint was trained with.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the scores; not applied to
            scores that only number the places, nor to a kept order.
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

    References:
        GroupRank, arXiv:2511.11653, 2025.

    Examples:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> reranker = GroupwiseRerank(backend=overlap, top_n=1)
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a dog", "a flea")]
        >>> reranker.postprocess_nodes(nodes, query_str="flea")[0].node.get_content()
        'a flea'
    """

    group_size: int = Field(default=20, frozen=True, description="Nodes in a group.")
    interval: int = Field(default=10, frozen=True, description="How far apart groups begin.")
    repeats: int = Field(default=1, frozen=True, description="How often everything is graded.")
    weight: float = Field(
        default=0.6, frozen=True, description="Weight of the grade, against the retriever's order."
    )
    prompt: Any = Field(default=None, frozen=True, description="A name, a file or a dictionary.")

    _suggested: ClassVar[str] = GROUPWISE_MODEL

    def _strategy(self, named: Named) -> Groupwise:
        return groupwise_strategy(
            named.model,
            self.prompt,
            size=self.group_size,
            interval=self.interval,
            repeats=self.repeats,
            weight=self.weight,
        )

    @classmethod
    def class_name(cls) -> str:
        return "GroupwiseRerank"
