"""`PluginRerank`: any strategy over any backend."""

from typing import Any, Optional, Tuple

from llama_index.core.bridge.pydantic import Field

from rerank_plugins.components import DEFAULT_PRESET, UNTRAINED, Named, find_parts
from rerank_plugins.ranking import Strategy

from ._base import Rerank, stored


class PluginRerank(Rerank):
    """Reranks nodes with any strategy and any backend of rerank-plugins, or of a package for it.

    One name is enough: of a checkpoint (``PluginRerank("rank_zephyr_7b_v1_full")``), a folder, a
    file, a server, or a spec, as of `rerank_plugins.load_reranker`. Or give the parts: by name, as
    plain dictionaries, or as instances.
    Failures are handled as in `FirstRerank`.

    Args:
        model: A checkpoint that the library knows, with or without its organisation; a folder or a
            ``.gguf`` file; any hub id, with ``strategy``; the address of a server; a spec, or the
            name of a spec file. By default the small encoder that comes with the library.
        strategy: A strategy, its registered name, or a dictionary, instead of the model's own.
            ``"first"`` is FIRST.
        backend: Instead of ``model``: a backend, its registered name, or a dictionary.
        llm: Instead of both: the application's own LLM, or ``"settings"`` for ``Settings.llm``,
            which can be stored. It answers strategies that ask for identifiers or for text, but
            not for likelihoods or pair scores. Without a strategy it is asked as in FIRST, and
            writes the order if it reports no log-probabilities.
        base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        api_key: The server's key, or a function that gives it. Never stored: after loading, give
            it again, or ``backend_options={"api_key_env": "NAME"}``.
        preset: A known checkpoint. Alone, it is loaded from the hub; with ``model``, that is a
            copy of it; with the others, it gives the strategy.
        base: The model under an adapter, if it is not the one that the adapter names.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the model's own scores, also
            where they are mixed with the nodes'; not applied to scores that only number the places,
            nor to a kept order.
        drop_unranked: Leave out the nodes that the model's answer left out, instead of appending
            them.
        scale_score: Return scores from 0 to 1: the sigmoid of logits, ``exp`` of log-probabilities,
            grades over their range. Places and mixed scores have no such scale: they stay as they
            are, and a warning says so.
        cut_at_gap: Return what stands above the largest drop of the scores; not applied to scores
            that only number the places.
        keep_at_least: How many nodes the threshold and the gap leave in any case.
        chunk_words: For nodes that are longer than what the model reads: cut them into chunks of so
            many words, and judge each node by its best chunk.
        instruction: What relevance means, where the prompt has a place for it; that of an
            `InstructedQuery` replaces it.
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

    model: Any = Field(default=None, frozen=True, description="The name of a reranker, or a spec.")
    strategy: Any = Field(
        default=None, frozen=True, description="A strategy, its registered name, or a dictionary."
    )
    preset: Optional[str] = Field(default=None, frozen=True, description="A known checkpoint.")
    base: Optional[str] = Field(
        default=None, frozen=True, description="The model under an adapter."
    )
    instruction: Optional[str] = Field(
        default=None, frozen=True, description="What relevance means here."
    )
    drop_unranked: bool = Field(
        default=False, description="Leave out the nodes that the model's answer left out."
    )

    def __init__(
        self, model: Any = None, *, preset: Optional[str] = None, **values: Any
    ) -> None:  # typed, so that checkers see the name in front and the preset
        parts = (values.get(name) for name in ("strategy", "backend", "llm", "base_url"))
        if model is None and preset is None and all(part is None for part in parts):
            model = DEFAULT_PRESET
        super().__init__(model, preset=preset, **values)

    def _named(self, backend: Any) -> Named:
        if self.llm is not None:
            usual = UNTRAINED if self.strategy is None and self.preset is None else self.strategy
            return find_parts("llm", None, preset=self.preset, strategy=usual)
        return find_parts(
            backend,
            self.model,
            preset=self.preset,
            strategy=self.strategy,
            base=self.base,
            base_url=self.base_url,
            api_key=self.api_key,
            limits=self.limits,
        )

    def _strategy(self, named: Named) -> Any:
        return named.with_strategy()

    def _connect(self, backend: Any) -> None:
        super()._connect(backend)
        if self.instruction is not None:
            self._reranker = self._reranker.with_instruction(self.instruction)

    def _field_of_prompts(self, strategy: Strategy) -> Tuple[str, Any]:
        return "strategy", stored("strategies", strategy)

    @classmethod
    def class_name(cls) -> str:
        return "PluginRerank"
