"""`PluginRerank`: any strategy over any backend."""

from typing import Any, Dict, Optional

from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import MetadataMode

from rerank_plugins.components import choose_strategy
from rerank_plugins.ranking import Strategy

from ._base import Rerank, kept, plain


class PluginRerank(Rerank):
    """Reranks nodes with any strategy and any backend of rerank-plugins, or of a package for it.

    Both are given by name, as plain dictionaries, or as instances. A checkpoint that the library
    knows needs its name alone: ``PluginRerank(preset="castorini/rank_zephyr_7b_v1_full")``.
    Failures as in `FirstRerank`.

    Args:
        strategy: How to rank: a strategy, its registered name, or a dictionary. Needed unless
            ``model`` or ``preset`` is a known checkpoint.
        backend: What answers: a backend, its registered name, or a dictionary.
        model: Instead of ``backend``: a causal language model in this process, as a hub id, a
            folder or a ``.gguf`` file.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. It answers what asks for identifiers or for text, and
            no likelihoods and pair scores.
        preset: A known checkpoint. Alone it is loaded from the hub; beside ``model`` it says what
            that is a copy of; beside the others it gives the strategy.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the strategy's scores; not
            applied to scores that only number the places, nor to a kept order.
        drop_unranked: Leave out the nodes that the model's answer left out, instead of appending
            them.
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
        frozen=True, description="How to rank: a strategy, its name, or a dictionary."
    )
    preset: Optional[str] = Field(frozen=True, description="A known checkpoint.")
    drop_unranked: bool = Field(description="Leave out what the model left out.")

    def __init__(
        self,
        *,
        strategy: Any = None,
        backend: Any = None,
        model: Optional[str] = None,
        llm: Any = None,
        preset: Optional[str] = None,
        top_n: Optional[int] = 10,
        score_threshold: Optional[float] = None,
        drop_unranked: bool = False,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        device: Optional[str] = None,
        backend_options: Optional[Dict[str, Any]] = None,
        limits: Optional[Dict[str, Any]] = None,
        raise_on_failure: bool = False,
        callback_manager: Optional[CallbackManager] = None,
    ) -> None:
        super().__init__(**kept(locals()))
        self._connect(choose_strategy(strategy, model, preset), backend, preset)

    @classmethod
    def class_name(cls) -> str:
        return "PluginRerank"

    def _use(self, strategy: Strategy) -> None:
        self.__dict__["strategy"] = plain("strategies", strategy)  # frozen for all others
