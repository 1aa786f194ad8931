"""`FirstRerank` and `PluginRerank`: thin postprocessors around `rerank_plugins.Reranker`.

What happens before and after the ranking is written once, in `_Rerank._reported`; the sync and the
async method differ in one line.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixin, PromptMixinType
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from rerank_plugins import ConfigurationError, InputError, Ranking, Reranker
from rerank_plugins.data import Strategy
from rerank_plugins.integration import (
    FIRST_MODEL,
    Candidates,
    build_backend,
    candidates,
    check_threshold,
    check_top_k,
    choose_strategy,
    conclude,
    find_prompts,
    first_strategy,
    model_name,
    with_prompt,
)
from rerank_plugins.middleware import guarded
from rerank_plugins.prompts import LikelihoodPrompt, ListwisePrompt
from rerank_plugins.registry import Group, to_spec

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

_PARTS: Dict[str, Group] = {
    "strategy": "strategies",
    "prompt": "strategies",
    "backend": "backends",
}


@dataclass
class _Job:
    """One call of a postprocessor: what is ranked, and what came of it."""

    query: str
    found: Candidates
    nodes: List[NodeWithScore] = field(default_factory=list)
    meta: Dict[str, Any] = field(default_factory=dict)
    ranking: Optional[Ranking] = None


class _Rerank(PromptMixin, BaseNodePostprocessor):
    """What both postprocessors share."""

    top_n: Optional[int] = Field(description="How many nodes to return at most; all when None.")
    score_threshold: Optional[float] = Field(
        description="The lowest score to return, in the unit of the score kind."
    )
    metadata_mode: MetadataMode = Field(description="Which metadata the model reads.")
    backend: Any = Field(
        frozen=True, description="What answers: a backend, its name, or a dictionary."
    )
    model: Optional[str] = Field(
        frozen=True, description="A causal language model, instead of a backend."
    )
    device: Optional[str] = Field(frozen=True, description="Where the model runs.")
    backend_options: Optional[Dict[str, Any]] = Field(frozen=True, description="For the backend.")
    limits: Optional[Dict[str, Any]] = Field(frozen=True, description="What one query may cost.")
    raise_on_failure: bool = Field(
        frozen=True, description="Raise when a call fails; else keep the order."
    )

    # Frozen fields are what the reranker was built from: to change one, build another.
    _reranker: Reranker = PrivateAttr()

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)

    def warm_up(self) -> None:
        """Load the model now instead of at the first query. Safe to repeat."""
        self._reranker.warm_up()

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""
        await self._reranker.awarm_up()

    def close(self) -> None:
        """Release the model. The next query loads it again. Safe to repeat."""
        self._reranker.close()

    async def aclose(self) -> None:
        """`close`, without blocking the event loop."""
        await self._reranker.aclose()

    def _postprocess_nodes(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> List[NodeWithScore]:
        with self._reported(nodes, query_bundle) as job:
            job.ranking = self._reranker.rank(job.query, job.found.texts)
        return job.nodes

    @dispatcher.span  # added by the framework for the synchronous method only
    async def _apostprocess_nodes(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> List[NodeWithScore]:
        with self._reported(nodes, query_bundle) as job:
            job.ranking = await self._reranker.arank(job.query, job.found.texts)
        return job.nodes

    @contextmanager
    def _reported(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle]
    ) -> Iterator[_Job]:
        """Events before and after a ranking, on every way out; the nodes when it is there."""
        if query_bundle is None:
            raise InputError("Missing query bundle.")
        query = query_bundle.query_str
        job = _Job(query, self._candidates(nodes))
        name = model_name(self._reranker.backend)
        top_n = len(nodes) if self.top_n is None else self.top_n
        dispatcher.event(
            ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=top_n, model_name=name)
        )
        payload: Dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield job
                self._finish(job, nodes)
                event.on_end(payload={EventPayload.NODES: job.nodes})
        except BaseException as error:
            job.meta = {"error": f"{type(error).__name__}: {error}"}
            raise
        finally:
            dispatcher.event(ReRankEndEvent(nodes=job.nodes, tags={"rerank_plugins": job.meta}))

    def _candidates(self, nodes: List[NodeWithScore]) -> Candidates:
        texts = [n.node.get_content(metadata_mode=self.metadata_mode) for n in nodes]
        return candidates([n.node.node_id for n in nodes], texts, [n.score for n in nodes])

    def _finish(self, job: _Job, nodes: List[NodeWithScore]) -> None:
        if job.ranking is None:
            return
        outcome = conclude(
            job.ranking,
            job.found,
            top_k=self.top_n,
            score_threshold=self.score_threshold,
            drop_unranked=getattr(self, "drop_unranked", False),
        )
        if outcome.warning:
            logger.warning("%s: %s", self.class_name(), outcome.warning)
        job.meta = outcome.meta
        job.nodes = [NodeWithScore(node=nodes[i].node, score=s) for i, s in outcome.lines]

    def _connect(self, strategy: Any, backend: Any) -> None:
        check_top_k("top_n", self.top_n)
        check_threshold(self.score_threshold)
        self._reranker = Reranker(
            strategy,
            guarded(build_backend(backend, self.model, self.backend_options, device=self.device)),
            on_error="raise" if self.raise_on_failure else "keep_order",
            limits=self.limits,
        )

    def _get_prompts(self) -> PromptDictType:
        found = find_prompts(self._reranker.strategy)
        return {place: _to_template(prompt) for place, prompt in found.items()}

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        strategy = self._reranker.strategy
        found = find_prompts(strategy)
        if unknown := sorted(set(prompts) - set(found)):
            raise InputError(f"there are no prompts {unknown}", hint=f"There are {sorted(found)}.")
        for place, template in prompts.items():
            strategy = with_prompt(strategy, place, _from_template(template, found[place]))
        self._use(strategy)
        self._reranker.strategy = strategy

    @abstractmethod
    def _use(self, strategy: Strategy) -> None:
        """Keep a changed strategy in the fields."""

    def to_json(self, **kwargs: Any) -> str:
        """The fields as JSON.

        Raises:
            ConfigurationError: The strategy or the backend is an object that has no plain form.
        """
        for name, group in _PARTS.items():
            part = getattr(self, name, None)
            if not (part is None or isinstance(part, str | Mapping)):
                to_spec(group, part)
        return super().to_json(**kwargs)

    def __getstate__(self) -> Dict[str, Any]:
        # The framework's own drops what cannot be pickled and goes on without it.
        return {**BaseModel.__getstate__(self), "__pydantic_private__": None}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def __deepcopy__(self, memo: Optional[Dict[int, Any]] = None) -> "_Rerank":
        """A copy that shares the model: two of it would not fit."""
        return self.model_copy()


class FirstRerank(_Rerank):
    """Reranks nodes with FIRST: one forward pass orders a window, and no text is generated.

    The order of a window is that of the log-probabilities of its passages' identifiers in the
    model's next token; longer lists are sorted by windows that slide from the bottom to the top.
    Scores are those log-probabilities for lists that fit one window, else reciprocal ranks.

    When a call to the model fails, the nodes it concerns keep their order, a warning says why, and
    the end event's ``tags["rerank_plugins"]`` has the cause, unless ``raise_on_failure`` is set.

    Args:
        model: A causal language model: a hub id, a folder or a ``.gguf`` file.
            ``castorini/first_mistral`` when neither ``model`` nor ``backend`` is given.
        backend: Instead of ``model``: a backend, its registered name, or a dictionary.
        window: Nodes in a window, 2 to 26.
        stride: How far the window moves, at least 1 and below ``window``.
        prompt: A prompt's versioned name, a TOML file, or a dictionary. By default the one the
            checkpoint was trained with.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest log-probability to return, in nats, for lists that fit one
            window.
        metadata_mode: Which metadata the model reads with each node.
        device: Where the model runs; the best device of the machine when None.
        backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``.
        limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        callback_manager: The framework's own; query engines set it.

    Raises:
        ValueError: An argument is out of range, or the model was trained for another way of
            ranking.

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
    """

    window: int = Field(frozen=True, description="Nodes in a window.")
    stride: int = Field(frozen=True, description="How far the window moves.")
    prompt: Any = Field(frozen=True, description="A prompt's name, a TOML file, or a dictionary.")

    def __init__(
        self,
        *,
        model: Optional[str] = None,
        backend: Any = None,
        window: int = 20,
        stride: int = 10,
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
        if model is None and backend is None:
            model = FIRST_MODEL
        super().__init__(
            model=model,
            backend=_plain("backends", backend),
            window=window,
            stride=stride,
            prompt=_plain("strategies", prompt),
            top_n=top_n,
            score_threshold=score_threshold,
            metadata_mode=metadata_mode,
            device=device,
            backend_options=backend_options,
            limits=limits,
            raise_on_failure=raise_on_failure,
            callback_manager=callback_manager or CallbackManager(),
        )
        self._connect(first_strategy(model, self.prompt, self.window, self.stride), backend)

    @classmethod
    def class_name(cls) -> str:
        return "FirstRerank"

    def _use(self, strategy: Strategy) -> None:
        [prompt] = find_prompts(strategy).values()
        self.__dict__["prompt"] = _plain("strategies", prompt)  # frozen for everybody else


class PluginRerank(_Rerank):
    """Reranks nodes with any strategy and any backend of rerank-plugins, or of a package for it.

    Both are given by name, as plain dictionaries, or as instances. A checkpoint that the library
    knows needs its name alone: ``PluginRerank(model="castorini/rank_zephyr_7b_v1_full")``.
    Failures as in `FirstRerank`.

    Args:
        strategy: How to rank: a strategy, its registered name, or a dictionary. Needed unless
            ``model`` is a known checkpoint.
        backend: What answers: a backend, its registered name, or a dictionary.
        model: Instead of ``backend``: a causal language model in this process, as a hub id, a
            folder or a ``.gguf`` file.
        top_n: How many nodes to return at most; all when None.
        score_threshold: The lowest score to return, in the unit of the strategy's scores; not
            applied to scores that only number the places, nor to a kept order.
        drop_unranked: Leave out the nodes that the model's answer left out, instead of appending
            them.
        metadata_mode: Which metadata the model reads with each node.
        device: Where the model runs; the best device of the machine when None.
        backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``.
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
    drop_unranked: bool = Field(description="Leave out what the model left out.")

    def __init__(
        self,
        *,
        strategy: Any = None,
        backend: Any = None,
        model: Optional[str] = None,
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
        super().__init__(
            strategy=_plain("strategies", strategy),
            backend=_plain("backends", backend),
            model=model,
            top_n=top_n,
            score_threshold=score_threshold,
            drop_unranked=drop_unranked,
            metadata_mode=metadata_mode,
            device=device,
            backend_options=backend_options,
            limits=limits,
            raise_on_failure=raise_on_failure,
            callback_manager=callback_manager or CallbackManager(),
        )
        self._connect(choose_strategy(strategy, model), backend)

    @classmethod
    def class_name(cls) -> str:
        return "PluginRerank"

    def _use(self, strategy: Strategy) -> None:
        self.__dict__["strategy"] = _plain("strategies", strategy)  # frozen for all others


def _plain(group: Group, part: Any) -> Any:
    """A part as a field keeps it: plain where it has a spec, so that it can be stored."""
    if part is None or isinstance(part, str | Mapping):
        return part
    try:
        return to_spec(group, part)
    except ConfigurationError:
        return part  # an object of the user's own: it works, and storing it says what is wrong


def _to_template(prompt: ListwisePrompt | LikelihoodPrompt) -> BasePromptTemplate:
    if not prompt.system:
        return PromptTemplate(prompt.user)
    system = prompt.system.replace("{", "{{").replace("}", "}}")  # it is no template of ours
    return ChatPromptTemplate(
        [
            ChatMessage(content=system, role=MessageRole.SYSTEM),
            ChatMessage(content=prompt.user, role=MessageRole.USER),
        ]
    )


def _from_template(
    template: BasePromptTemplate, prompt: ListwisePrompt | LikelihoodPrompt
) -> ListwisePrompt | LikelihoodPrompt:
    """The prompt with the messages of a template, which keeps its variables."""
    if isinstance(template, PromptTemplate):
        return replace(prompt, user=template.template)
    if not isinstance(template, ChatPromptTemplate):
        raise InputError(f"a {type(template).__name__} cannot be a ranking prompt")
    text = {m.role: m.content or "" for m in template.message_templates}
    system = text.get(MessageRole.SYSTEM, "").replace("{{", "{").replace("}}", "}")
    return replace(prompt, system=system, user=text.get(MessageRole.USER, ""))
