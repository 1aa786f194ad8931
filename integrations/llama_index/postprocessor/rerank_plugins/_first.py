"""`FirstRerank`: one forward pass orders a window."""

from typing import Any, ClassVar, Optional

from llama_index.core.bridge.pydantic import Field
from pydantic import SkipValidation

from rerank_plugins.components import FIRST_MODEL, Named, first_strategy, usual_policy
from rerank_plugins.strategies import Policy, SlidingWindow

from ._base import Rerank


class FirstRerank(Rerank):
    """Reranks nodes with FIRST: one forward pass orders a window, and no text is generated.

    The order of a window is that of the log-probabilities of its passages' identifiers in the
    model's next token; longer lists are sorted by windows that slide from the bottom to the top.
    Scores are those log-probabilities for lists that fit one window, else reciprocal ranks.

    When a call to the model fails, the nodes it concerns keep their order, a warning says why, and
    the end event's ``tags["rerank_plugins"]`` has the cause, unless ``raise_on_failure`` is set.

    Args:
        model: A causal language model: a hub id, a folder or a ``.gguf`` file.
        backend: Instead of ``model``: a backend, its registered name, or a dictionary.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. Log-probabilities are used if its responses carry them, and
            the order that it writes otherwise.
        base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        api_key: The server's key, or a function that gives it. Never stored: after loading, give
            it again, or ``backend_options={"api_key_env": "NAME"}``.
        window: Nodes in a window, 2 to 26.
        stride: How far the window moves, at least 1 and below ``window``.
        prompt: A prompt's versioned name, a TOML file, or a dictionary. By default the one the
            checkpoint was trained with.
        policy: What to do with nodes whose identifiers are not reported: ``"keep_order"``,
            ``"ask_again"`` or ``"generate"``, as for `SingleToken`. By default ``"generate"``
            with an LLM, and with an unknown model on a server, which may report none at all, else
            ``"keep_order"``.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest log-probability to return, in nats, for lists that fit one
            window.
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
        Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
        arXiv:2406.15657, 2024.

    Examples:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> reranker = FirstRerank(backend=by_length, top_n=1)
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a", "abc", "ab")]
        >>> reranker.postprocess_nodes(nodes, query_str="the longest")[0].node.get_content()
        'abc'

        With the LLM of the application. An LLM is never stored, because its fields may hold a key;
        ``"settings"`` is, and means the ``Settings.llm`` of the program that loads it.

        >>> from llama_index.core import Settings
        >>> from llama_index.core.llms import MockLLM
        >>> Settings.llm = MockLLM()
        >>> reranker = FirstRerank(llm=Settings.llm, top_n=1)
        >>> stored = FirstRerank(llm="settings", top_n=1).to_json()
        >>> FirstRerank.from_json(stored).llm
        'settings'
    """

    window: int = Field(default=20, frozen=True, description="Nodes in a window.")
    stride: int = Field(default=10, frozen=True, description="How far the window moves.")
    prompt: Any = Field(default=None, frozen=True, description="A name, a file or a dictionary.")
    policy: SkipValidation[Optional[Policy]] = Field(
        default=None, frozen=True, description="What to do where identifiers are not reported."
    )

    _suggested: ClassVar[str] = FIRST_MODEL

    def _strategy(self, named: Named) -> SlidingWindow:
        usual = usual_policy(named, chat=self.llm is not None)
        return first_strategy(
            named.model, self.prompt, self.window, self.stride, self.policy or usual
        )

    @classmethod
    def class_name(cls) -> str:
        return "FirstRerank"
