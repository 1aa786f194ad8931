"""What happens before and after a ranking, for every postprocessor.

It is written once, in `Rerank._reported`; the sync and the async method differ in one line.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr, field_serializer
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixin, PromptMixinType
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from rerank_plugins import ConfigurationError, InputError, Ranking, Reranker
from rerank_plugins.components import (
    Candidates,
    build_backend,
    candidates,
    check_threshold,
    check_top_k,
    conclude,
    find_prompts,
    model_name,
    with_prompt,
)
from rerank_plugins.handlers import AnyBackend
from rerank_plugins.middleware import guarded
from rerank_plugins.prompts import AnyPrompt
from rerank_plugins.ranking import Strategy
from rerank_plugins.registry import Group, to_spec

from ._llm import LLMBackend

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

_NOT_STORED = 'an LLM is an object that is never stored. Give llm="settings" for Settings.llm'
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


class Rerank(PromptMixin, BaseNodePostprocessor):
    """What all postprocessors share."""

    top_n: Optional[int] = Field(description="How many nodes to return at most; all when None.")
    score_threshold: Optional[float] = Field(
        description="The lowest score to return, in the unit of the score kind."
    )
    metadata_mode: MetadataMode = Field(description="Which metadata the model reads.")
    backend: Any = Field(
        frozen=True, description="What answers: a backend, its name, or a dictionary."
    )
    llm: Any = Field(
        frozen=True, repr=False, description='The application\'s own model, or "settings".'
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

    @field_serializer("llm")
    def _without_its_secrets(self, llm: Any) -> Optional[str]:
        """Its class in the place of an LLM, whose own fields may hold a key."""
        return llm if llm is None or isinstance(llm, str) else f"<{type(llm).__name__}>"

    def to_dict(self, **kwargs: Any) -> Dict[str, Any]:
        """The fields, from which ``from_dict`` builds an equal postprocessor in this process."""
        return {**super().to_dict(**kwargs), "llm": self.llm}

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

    def ranked(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> Tuple[List[NodeWithScore], Dict[str, Any]]:
        """`postprocess_nodes`, and what the end event's tags say: score kind, usage, causes."""
        with self._reported(nodes, query_bundle) as job:
            job.ranking = self._reranker.rank(job.query, job.found.texts)
        return job.nodes, job.meta

    async def aranked(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> Tuple[List[NodeWithScore], Dict[str, Any]]:
        """`ranked`, without blocking the event loop."""
        with self._reported(nodes, query_bundle) as job:
            job.ranking = await self._reranker.arank(job.query, job.found.texts)
        return job.nodes, job.meta

    def _postprocess_nodes(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> List[NodeWithScore]:
        return self.ranked(nodes, query_bundle)[0]

    @dispatcher.span  # added by the framework for the synchronous method only
    async def _apostprocess_nodes(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> List[NodeWithScore]:
        return (await self.aranked(nodes, query_bundle))[0]

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

    def _connect(self, strategy: Any, backend: Any, preset: Optional[str] = None) -> None:
        check_top_k("top_n", self.top_n)
        check_threshold(self.score_threshold)
        self._reranker = Reranker(
            strategy,
            guarded(self._backend(backend, preset)),
            on_error="raise" if self.raise_on_failure else "keep_order",
            limits=self.limits,
        )

    def _backend(self, backend: Any, preset: Optional[str]) -> AnyBackend:
        if self.llm is None:
            return build_backend(
                backend, self.model, self.backend_options, preset=preset, device=self.device
            )
        given = {"model": self.model, "backend": backend, "device": self.device}
        for name, value in given.items():
            if value is not None:
                raise InputError(f"give either {name}= or llm=, and not both")
        options = dict(self.backend_options or {})
        if unknown := sorted(set(options) - {"max_concurrency"}):
            raise InputError(f"an LLM takes no {unknown}", hint="It takes max_concurrency.")
        return LLMBackend(self.llm, **options)

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
        old = self._reranker
        self._reranker = Reranker(strategy, old.backend, on_error=old.on_error, limits=old.limits)

    def _use(self, strategy: Strategy) -> None:
        """Keep a changed strategy in the fields: of most classes, its one prompt."""
        [prompt] = find_prompts(strategy).values()
        self.__dict__["prompt"] = plain("strategies", prompt)  # frozen for everybody else

    def to_json(self, **kwargs: Any) -> str:
        """The fields as JSON.

        Raises:
            ConfigurationError: The strategy, the backend or the LLM is an object that has no plain
                form.
        """
        if not (self.llm is None or isinstance(self.llm, str)):
            raise ConfigurationError(_NOT_STORED)
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

    def __deepcopy__(self, memo: Optional[Dict[int, Any]] = None) -> "Rerank":
        """A copy that shares the model: two of it would not fit."""
        return self.model_copy()


def kept(arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments of a constructor as the fields keep them."""
    values = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}
    for name, group in _PARTS.items():
        if name in values:
            values[name] = plain(group, values[name])
    values["callback_manager"] = values["callback_manager"] or CallbackManager()
    return values


def plain(group: Group, part: Any) -> Any:
    """A part as a field keeps it: plain where it has a spec, so that it can be stored."""
    if part is None or isinstance(part, str | Mapping):
        return part
    try:
        return to_spec(group, part)
    except ConfigurationError:
        return part  # an object of the user's own: it works, and storing it says what is wrong


def _to_template(prompt: AnyPrompt) -> BasePromptTemplate:
    if not prompt.system:
        return PromptTemplate(prompt.user)
    system = prompt.system.replace("{", "{{").replace("}", "}}")  # it is no template of ours
    return ChatPromptTemplate(
        [
            ChatMessage(content=system, role=MessageRole.SYSTEM),
            ChatMessage(content=prompt.user, role=MessageRole.USER),
        ]
    )


def _from_template(template: BasePromptTemplate, prompt: AnyPrompt) -> AnyPrompt:
    """The prompt with the messages of a template, which keeps its variables."""
    if isinstance(template, PromptTemplate):
        return replace(prompt, user=template.template)
    if not isinstance(template, ChatPromptTemplate):
        raise InputError(f"a {type(template).__name__} cannot be a ranking prompt")
    text = {m.role: m.content or "" for m in template.message_templates}
    system = text.get(MessageRole.SYSTEM, "").replace("{{", "{").replace("}}", "}")
    return replace(prompt, system=system, user=text.get(MessageRole.USER, ""))
