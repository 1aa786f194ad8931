"""`FullListRerank`: all nodes in one prompt of a long context."""

from typing import Any, ClassVar, Optional

from llama_index.core.bridge.pydantic import Field
from pydantic import SkipValidation

from rerank_plugins import Reranker
from rerank_plugins.components import FULL_LIST_MODEL, Named, full_list_strategy, ordering_at_least
from rerank_plugins.strategies import FullList, Read

from ._base import Rerank


class FullListRerank(Rerank):
    """Reranks all nodes in one prompt of a model with a long context.

    The model writes the order and stops after the first ``top_m`` nodes (``read="written"``, as
    RankMistral100), writes it under a constraint that nothing but an order fits
    (``"constrained"``), or gives all of it by the log-probabilities of one token
    (``"single-token"``). Scores only number the places; for ``"single-token"`` they are those
    log-probabilities.
    Failures are handled as in `FirstRerank`.

    Args:
        model: A causal language model: a hub id, a folder or a ``.gguf`` file.
        backend: Instead of ``model``: a backend, its registered name, or a dictionary.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. It writes the order (``read="written"``).
        base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        api_key: The server's key, or a function that gives it. Never stored: after loading, give
            it again, or ``backend_options={"api_key_env": "NAME"}``.
        read: ``"written"``, ``"constrained"`` or ``"single-token"``.
        top_m: How many nodes the model puts in order, by default ``top_n``; the others follow in
            their order.
        allow_none: Whether the model may say that no node is relevant (``none``, ``[]`` or a short
            sentence; for ``read="written"``, with a prompt that asks for it). Then no node is
            returned, and ``irrelevant`` in the end event's tags has their number.
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
        Liu et al., Sliding Windows Are Not the End, arXiv:2412.14574, 2024.

    Examples:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> reranker = FullListRerank(backend=overlap, top_n=1)
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a dog", "a flea")]
        >>> reranker.postprocess_nodes(nodes, query_str="flea")[0].node.get_content()
        'a flea'
    """

    read: SkipValidation[Read] = Field(
        default="written", frozen=True, description="How the order is read."
    )
    top_m: Optional[int] = Field(
        default=None, frozen=True, description="How many nodes the model puts in order."
    )
    allow_none: SkipValidation[bool] = Field(
        default=False, frozen=True, description="Whether no node at all may be relevant."
    )
    prompt: Any = Field(default=None, frozen=True, description="A name, a file or a dictionary.")

    _suggested: ClassVar[str] = FULL_LIST_MODEL

    def _strategy(self, named: Named) -> FullList:
        return full_list_strategy(
            named.model, self.prompt, self.read, self.top_m, self.top_n, self.allow_none
        )

    def _current(self) -> Reranker:
        if self.top_m is not None:
            return self._reranker
        return ordering_at_least(self._reranker, self.top_n)

    @classmethod
    def class_name(cls) -> str:
        return "FullListRerank"
