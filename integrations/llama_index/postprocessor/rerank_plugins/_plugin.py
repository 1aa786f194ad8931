"""`PluginRerank`: any strategy over any backend."""

from typing import Any, Optional, Tuple

from llama_index.core.bridge.pydantic import Field

from rerank_plugins.components import choose_strategy
from rerank_plugins.ranking import Strategy

from ._base import Rerank, stored


class PluginRerank(Rerank):
    """Reranks nodes with any strategy and any backend of rerank-plugins, or of a package for it.

    Both are given by name, as plain dictionaries, or as instances. A checkpoint that the library
    knows needs its name alone: ``PluginRerank(preset="castorini/rank_zephyr_7b_v1_full")``.
    Failures are handled as in `FirstRerank`.

    Args:
        strategy: A strategy, its registered name, or a dictionary. Needed unless ``model`` or
            ``preset`` is a known checkpoint.
        backend: A backend, its registered name, or a dictionary.
        model: Instead of ``backend``: a causal language model in this process, as a hub id, a
            folder or a ``.gguf`` file.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. It answers strategies that ask for identifiers or for text, but
            not for likelihoods or pair scores.
        preset: A known checkpoint. Alone, it is loaded from the hub; with ``model``, that is a
            copy of it; with the others, it gives the strategy.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the model's own scores, also
            where they are mixed with the nodes'; not applied to scores that only number the places,
            nor to a kept order.
        drop_unranked: Leave out the nodes that the model's answer left out, instead of appending
            them.
        scale_score: Return scores from 0 to 1: the sigmoid of logits, ``exp`` of log-probabilities,
            grades over their range. Places and mixed scores have no such scale: they stay as they
            are, and a warning says so.
        metadata_mode: Which metadata the model reads with each node.
        device: Where the model runs; the best device of the machine when None.
        backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``;
            ``{"max_concurrency": 4}`` for an LLM.
        limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        callback_manager: The framework's own; query engines set it.

    Raises:
        ValueError: An argument is out of range, missing or unknown.
        UnknownNameError: No strategy or backend of that name; the message lists those there are.

    Examples:
        >>> from rerank_plugins.testing import Oracle
        >>> reranker = PluginRerank(strategy="query-likelihood", backend=Oracle(), top_n=None)
        >>> list(reranker.get_prompts())
        ['prompt']
    """

    strategy: Any = Field(
        default=None, frozen=True, description="A strategy, its registered name, or a dictionary."
    )
    preset: Optional[str] = Field(default=None, frozen=True, description="A known checkpoint.")
    drop_unranked: bool = Field(
        default=False, description="Leave out the nodes that the model's answer left out."
    )

    def _strategy(self) -> Any:
        return choose_strategy(self.strategy, self.model, self.preset)

    def _field_of_prompts(self, strategy: Strategy) -> Tuple[str, Any]:
        return "strategy", stored("strategies", strategy)

    @classmethod
    def class_name(cls) -> str:
        return "PluginRerank"
