"""The base of all postprocessors: everything before and after a ranking.

`Rerank._reported` holds it; the sync and the async method differ in one line.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Callable, ClassVar, Dict, List, Optional, Tuple

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_serializer,
)
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixin, PromptMixinType
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from rerank_plugins import ConfigurationError, InputError, Ranking, Reranker
from rerank_plugins.components import (
    Candidates,
    Group,
    Named,
    at_least,
    build_backend,
    build_reranker,
    candidates,
    chat_options,
    check_cut,
    check_flag,
    check_threshold,
    check_top_k,
    conclude,
    find_checkpoint,
    find_prompts,
    listed,
    model_name,
    nearest_of,
    plain_part,
    refuse_download,
    top_grade,
    with_prompt,
)
from rerank_plugins.prompts import AnyPrompt
from rerank_plugins.ranking import Strategy

from ._llm import LLMBackend

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

_NOT_STORED = 'an LLM object cannot be stored. Give llm="settings", which stands for Settings.llm'
_PARTS: Dict[str, Group] = {
    "strategy": "strategies",
    "prompt": "strategies",
    "backend": "backends",
}
_CHECKS: Dict[str, Callable[[str, Any], None]] = {
    "top_n": check_top_k,
    "score_threshold": lambda _, value: check_threshold(value),
    "scale_score": check_flag,
    "cut_at_gap": check_cut,
    "keep_at_least": check_cut,
    "chunk_words": lambda name, value: at_least(1, none=True, **{name: value}),
    "drop_unranked": check_flag,
}


@dataclass
class _Job:
    """One call of a postprocessor: what is ranked, and the result."""

    query: str
    found: Candidates
    instruction: Optional[str] = None
    nodes: List[NodeWithScore] = field(default_factory=list)
    meta: Dict[str, Any] = field(default_factory=dict)
    ranking: Optional[Ranking] = None


@dataclass
class InstructedQuery(QueryBundle):
    """A query with an instruction: what relevance means for it.

    Query engines, retrievers and postprocessors take it in the place of a string. The
    postprocessors here tell the model, if its prompt has a place for it, and refuse it if not.
    Any other query bundle with an attribute ``instruction`` works as well.

    Args:
        query_str: The query.
        instruction: What relevance means. None leaves the postprocessor's own.

    Examples:
        >>> InstructedQuery("sort a list", instruction="Find code.").query_str
        'sort a list'
    """

    instruction: Optional[str] = None


class Rerank(PromptMixin, BaseNodePostprocessor):
    """Base of all postprocessors: a reranker, built from the fields.

    A subclass declares its arguments as fields and builds its strategy from them. Frozen fields are
    what the reranker is built from: to change one, build another postprocessor.
    """

    model_config = ConfigDict(validate_assignment=True)

    top_n: Optional[int] = Field(default=10, description="Maximum number of nodes; all when None.")
    score_threshold: Optional[float] = Field(
        default=None, description="The lowest score to return, in the unit of the score kind."
    )
    scale_score: bool = Field(
        default=False, description="Return scores from 0 to 1, where their kind allows it."
    )
    cut_at_gap: bool = Field(
        default=False, description="Return what stands above the largest drop of the scores."
    )
    keep_at_least: int = Field(
        default=0, description="Nodes that the threshold and the gap leave in any case."
    )
    chunk_words: Optional[int] = Field(
        default=None, frozen=True, description="Words in the chunks of nodes that are too long."
    )
    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED, description="Which metadata the model reads."
    )
    backend: Any = Field(
        default=None, frozen=True, description="A backend, its registered name, or a dictionary."
    )
    llm: Any = Field(
        default=None, frozen=True, repr=False, description='An LLM, or "settings" for Settings.llm.'
    )
    model: Optional[str] = Field(
        default=None, frozen=True, description="The name of a model, instead of a backend."
    )
    base_url: Optional[str] = Field(
        default=None, frozen=True, description="The server where the model runs."
    )
    api_key: Any = Field(
        default=None, frozen=True, exclude=True, repr=False, description="The server's key."
    )
    device: Optional[str] = Field(default=None, frozen=True, description="The model's device.")
    backend_options: Optional[Dict[str, Any]] = Field(
        default=None, frozen=True, description="Further arguments of the backend."
    )
    limits: Optional[Dict[str, Any]] = Field(
        default=None, frozen=True, description="Limits on what one query may cost."
    )
    raise_on_failure: bool = Field(
        default=False, frozen=True, description="Raise when a call fails; else keep the order."
    )

    _suggested: ClassVar[str] = ""
    _reranker: Reranker = PrivateAttr()

    def __init__(self, model: Any = None, **values: Any) -> None:
        values["model"] = model
        for name in values:
            if name not in type(self).model_fields:
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected keyword argument {name!r}. "
                    + nearest_of(name, type(self).model_fields, "Its arguments:")
                )
        if values.get("callback_manager") is None:
            values.pop("callback_manager", None)
        backend = values.get("backend")
        for name in _PARTS.keys() & values.keys():
            values[name] = stored(_PARTS[name], values[name])
        for name in _CHECKS.keys() & values.keys():
            _CHECKS[name](name, values[name])
        super().__init__(**values)
        self._connect(backend)  # the object itself, where one was given

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKS:
            _CHECKS[name](name, value)
        super().__setattr__(name, value)

    @abstractmethod
    def _strategy(self, named: Named) -> Any:
        """The strategy that the fields describe, for a model."""

    def _named(self, backend: Any) -> Named:
        """Find what the fields name."""
        if self.llm is not None:
            return Named(model=self.model, strategy=None, backend=backend)
        given = (self.model, self.base_url, backend)
        refuse_download(self.class_name(), self._suggested, "llm", given)
        return find_checkpoint(backend, self.model, base_url=self.base_url, api_key=self.api_key)

    @field_serializer("llm")
    def _name_of_llm(self, llm: Any) -> Optional[str]:
        """The class in place of an LLM object, whose fields may hold a key."""
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
        """`postprocess_nodes`, and the end event's tags: score kind, usage, causes."""
        with self._reported(nodes, query_bundle) as job:
            job.ranking = self._current().rank(
                job.query, job.found.texts, instruction=job.instruction
            )
        return job.nodes, job.meta

    async def aranked(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> Tuple[List[NodeWithScore], Dict[str, Any]]:
        """`ranked`, without blocking the event loop."""
        with self._reported(nodes, query_bundle) as job:
            job.ranking = await self._current().arank(
                job.query, job.found.texts, instruction=job.instruction
            )
        return job.nodes, job.meta

    def _current(self) -> Reranker:
        """The reranker for the present ``top_n``, which may have been assigned."""
        return self._reranker

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
        nodes = listed("nodes", nodes, NodeWithScore)
        texts = [n.node.get_content(metadata_mode=self.metadata_mode) for n in nodes]
        found = candidates([n.node.node_id for n in nodes], texts, [n.score for n in nodes])
        told = getattr(query_bundle, "instruction", None)
        job = _Job(query_bundle.query_str, found, told)
        name = model_name(self._reranker.backend)
        top_n = len(nodes) if self.top_n is None else self.top_n
        dispatcher.event(
            ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=top_n, model_name=name)
        )
        payload: Dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: job.query,
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

    def _finish(self, job: _Job, nodes: List[NodeWithScore]) -> None:
        if job.ranking is None:
            return
        outcome = conclude(
            job.ranking,
            job.found,
            top_k=self.top_n,
            score_threshold=self.score_threshold,
            cut_at_gap=self.cut_at_gap,
            keep_at_least=self.keep_at_least,
            drop_unranked=getattr(self, "drop_unranked", False),
            scale_score=self.scale_score,
            top_grade=top_grade(self._reranker.strategy),
        )
        if outcome.warning:
            logger.warning("%s: %s", self.class_name(), outcome.warning)
        job.meta = outcome.meta
        job.nodes = [NodeWithScore(node=nodes[i].node, score=s) for i, s in outcome.lines]

    def _connect(self, backend: Any) -> None:
        """Build the reranker."""
        named = self._named(backend)
        if self.llm is None:
            built = build_backend(
                named.backend, self.backend_options, device=self.device, api_key=self.api_key
            )
        else:
            names = ("model", "base_url", "api_key", "device")
            others = {"backend": backend, **{name: getattr(self, name) for name in names}}
            built = LLMBackend(self.llm, **chat_options("llm", self.backend_options, others))
        self._reranker = build_reranker(
            self._strategy(named),
            built,
            raise_on_failure=self.raise_on_failure,
            limits=self.limits if named.limits is None else named.limits,
            chunk_words=self.chunk_words,
        )

    def _get_prompts(self) -> PromptDictType:
        found = find_prompts(self._reranker.strategy)
        return {place: _to_template(prompt) for place, prompt in found.items()}

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        old = self._reranker
        strategy, found = old.strategy, find_prompts(old.strategy)
        if unknown := sorted(set(prompts) - set(found)):
            raise InputError(
                f"{self.class_name()} has no prompts {unknown}", hint=f"It has {sorted(found)}."
            )
        for place, template in prompts.items():
            strategy = with_prompt(strategy, place, _from_template(template, found[place]))
        changed = Reranker(strategy, old.backend, on_error=old.on_error, limits=old.limits)
        # The framework changes prompts in place, so the one field that holds them is written here.
        object.__setattr__(self, *self._field_of_prompts(strategy))
        self._reranker = changed

    def _field_of_prompts(self, strategy: Strategy) -> Tuple[str, Any]:
        """The name and the value of the field that a strategy's prompts are stored in."""
        [prompt] = find_prompts(strategy).values()
        return "prompt", stored("strategies", prompt)

    def to_json(self, **kwargs: Any) -> str:
        """The fields as JSON.

        Raises:
            ConfigurationError: The strategy, the backend or the LLM is an object that has no plain
                form.
        """
        if not (self.llm is None or isinstance(self.llm, str)):
            raise ConfigurationError(_NOT_STORED)
        for name, group in _PARTS.items():
            plain_part(group, getattr(self, name, None))  # an error where there is no plain form
        return super().to_json(**kwargs)

    def __getstate__(self) -> Dict[str, Any]:
        # The framework's own method silently drops what cannot be pickled.
        return {**BaseModel.__getstate__(self), "__pydantic_private__": {}}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        BaseModel.__setstate__(self, state)
        self._connect(self.backend)

    def __deepcopy__(self, memo: Optional[Dict[int, Any]] = None) -> "Rerank":
        """A copy that shares the loaded model, because two may not fit into memory."""
        return self.model_copy()


def stored(group: Group, part: Any) -> Any:
    """A part as its field keeps it: plain, where it has a plain form, so that it can be stored."""
    try:
        return plain_part(group, part)
    except ConfigurationError:
        return part  # an object of the caller's own: it works, and `to_json` refuses it


def _to_template(prompt: AnyPrompt) -> BasePromptTemplate:
    if not prompt.system:
        return PromptTemplate(prompt.user)
    system = prompt.system.replace("{", "{{").replace("}", "}}")  # literal braces
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
        raise InputError(
            f"a {type(template).__name__} cannot be a ranking prompt",
            hint="Give a PromptTemplate or a ChatPromptTemplate.",
        )
    text = {m.role: m.content or "" for m in template.message_templates}
    system = text.get(MessageRole.SYSTEM, "").replace("{{", "{").replace("}}", "}")
    return replace(prompt, system=system, user=text.get(MessageRole.USER, ""))
