"""`FullListRerank`: all nodes in one prompt of a long context."""

from typing import Any, Dict, Optional

from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import MetadataMode

from rerank_plugins.components import FULL_LIST_MODEL, full_list_strategy
from rerank_plugins.strategies import Read

from ._base import Rerank, kept


class FullListRerank(Rerank):
    """Reranks all nodes in one prompt of a model with a long context.

    The model writes the order and stops after the first ``top_m`` nodes (``read="written"``, as
    RankMistral100), writes it under a constraint that nothing but an order fits
    (``"constrained"``), or gives all of it by the log-probabilities of one token
    (``"single-token"``). Scores only number the places; for ``"single-token"`` they are those
    log-probabilities.
    Failures as in `FirstRerank`.

    Args:
        model: A causal language model: a hub id, a folder or a ``.gguf`` file.
            ``liuwenhan/RankMistral100`` when nothing else is given.
        backend: Instead of ``model``: a backend, its registered name, or a dictionary.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. It writes the order (``read="written"``).
        read: ``"written"``, ``"constrained"`` or ``"single-token"``.
        top_m: How many nodes the model puts in order, by default ``top_n``; the others follow in
            their order.
        prompt: A prompt's versioned name, a TOML file, or a dictionary. By default the one the
            checkpoint was trained with.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the scores; not applied to
            scores that only number the places, nor to a kept order.
        metadata_mode: Which metadata the model reads with each node.
        device: Where the model runs; the best device of the machine when None.
        backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``;
            ``{"max_concurrency": 4}`` for an LLM.
        limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        callback_manager: The framework's own; query engines set it.

    Raises:
        ValueError: An argument is out of range, or the model was trained for another way of
            ranking.

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

    read: str = Field(frozen=True, description="How the order is read.")
    top_m: Optional[int] = Field(frozen=True, description="How many nodes are put in order.")
    prompt: Any = Field(frozen=True, description="A prompt's name, a TOML file, or a dictionary.")

    def __init__(
        self,
        *,
        model: Optional[str] = None,
        backend: Any = None,
        llm: Any = None,
        read: Read = "written",
        top_m: Optional[int] = None,
        prompt: Any = None,
        top_n: Optional[int] = 10,
        score_threshold: Optional[float] = None,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        device: Optional[str] = None,
        backend_options: Optional[Dict[str, Any]] = None,
        limits: Optional[Dict[str, Any]] = None,
        raise_on_failure: bool = False,
        callback_manager: Optional[CallbackManager] = None,
    ) -> None:
        if model is None and backend is None and llm is None:
            model = FULL_LIST_MODEL
        super().__init__(**kept(locals()))
        self._connect(full_list_strategy(model, self.prompt, read, top_m, top_n), backend)

    @classmethod
    def class_name(cls) -> str:
        return "FullListRerank"
