"""A LlamaIndex LLM of the application as a backend."""

import inspect
import threading
from typing import Any, Dict, List, Mapping, Optional

from llama_index.core.base.llms.generic_utils import (
    messages_to_prompt as generic_messages_to_prompt,
)
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.settings import Settings

from rerank_plugins import ConfigurationError, InputError
from rerank_plugins.backends.chat import (
    COMPLETIONS,
    MAX_CONCURRENCY,
    RESPONSES,
    Asked,
    ChatModelBackend,
    Dialect,
    Messages,
    Said,
    read_positions,
    tokens_used,
)
from rerank_plugins.components import off_loop

SETTINGS = "settings"
"""Stands for ``Settings.llm`` at the time of its first use."""

# By class names, so that no client is imported that the application does not use.
_RESPONSES = frozenset({"OpenAIResponses", "OpenAILikeResponses"})
_ASYNC_BY_NAME = frozenset({"HuggingFaceLLM", "LlamaCPP", "Vllm"})
_CUT = frozenset({"length", "max_tokens", "max_output_tokens"})


class LLMBackend(ChatModelBackend):
    """Answer by a LlamaIndex LLM, with log-probabilities if its responses carry them.

    A chat model is called by ``chat``, with the arguments of OpenAI's API; any other by
    ``complete``, which continues the start of the answer. Arguments that the LLM rejects are
    remembered, so that they are sent once. The LLM's own ``max_tokens`` and ``additional_kwargs``
    take precedence in some integrations: leave room for an order in them.

    Args:
        llm: An LLM, or ``"settings"`` for ``Settings.llm``.
        max_concurrency: How many calls of one batch run at once. By default 8, and 1 for LLMs
            whose asynchronous methods call the synchronous ones, as in most local models.

    Raises:
        InputError: ``llm`` is not an LLM, or a number is out of range.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> from rerank_plugins import Reranker
        >>> reranker = Reranker("permutation", LLMBackend(MockLLM()))
        >>> reranker.rank("how long does a flea live?", ["a", "b"]).usage.calls
        1
    """

    def __init__(self, llm: LLM | str, *, max_concurrency: Optional[int] = None) -> None:
        if not (isinstance(llm, LLM) or llm == SETTINGS):
            raise InputError(
                f"llm is of type {type(llm).__name__}", hint=f"Give an LLM or {SETTINGS!r}."
            )
        self._given = llm
        self._llm: Optional[LLM] = None
        self._usual = max_concurrency is None
        self._finding = threading.Lock()
        at_once = MAX_CONCURRENCY if max_concurrency is None else max_concurrency
        super().__init__(Dialect(), at_once, self._secrets)
        if isinstance(llm, LLM):
            self._use(llm)

    @property
    def llm(self) -> LLM:
        """The LLM.

        Raises:
            ConfigurationError: ``Settings.llm`` was asked for and is not available.
        """
        with self._finding:
            if self._llm is not None:
                return self._llm
            try:
                found = Settings.llm
            except Exception as error:
                raise ConfigurationError(
                    f"Settings.llm is not available: {type(error).__name__}: {error}",
                    hint="Set it, or give llm=...",
                ) from error
            return self._use(found)

    def _use(self, llm: LLM) -> LLM:
        self._llm = llm
        self._known.dialect = _dialect(llm)
        if self._usual and not _is_async(llm):
            self.max_concurrency = 1
        return llm

    @property
    def model(self) -> str:
        """The name of the LLM's model; the LLM's class if it does not say."""
        return "Settings.llm" if self._llm is None else _model_name(self._llm)

    def warm_up(self) -> None:
        """Find the LLM of the settings. Safe to repeat."""
        self.llm  # noqa: B018 - finds it, or raises

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""
        if self._llm is None:
            await off_loop(self.warm_up)

    def ask(self, asked: Asked) -> Said:
        """Call ``chat`` or ``complete``."""
        options = dict(asked.arguments)
        if _is_chat(self.llm):
            return _said(self.llm.chat(_messages(asked.messages), **options))
        prompt = _prompt(self.llm, asked.messages)
        return _completed(self.llm.complete(prompt, formatted=True, **options))

    async def aask(self, asked: Asked) -> Said:
        """Call ``achat`` or ``acomplete``; in a thread, if the LLM would block the event loop."""
        if not _is_async(self.llm):
            return await super().aask(asked)
        options = dict(asked.arguments)
        if _is_chat(self.llm):
            return _said(await self.llm.achat(_messages(asked.messages), **options))
        prompt = _prompt(self.llm, asked.messages)
        return _completed(await self.llm.acomplete(prompt, formatted=True, **options))

    def _secrets(self) -> List[str]:
        """The LLM's values with a name such as ``api_key``."""
        values = {} if self._llm is None else dict(vars(self._llm))
        found = [v for k, v in values.items() if k.endswith(("key", "token", "secret", "password"))]
        plain = [v.get_secret_value() if hasattr(v, "get_secret_value") else v for v in found]
        return [value for value in plain if isinstance(value, str)]

    def _arguments(self) -> Dict[str, Any]:
        return {
            "llm": self._given,
            "max_concurrency": None if self._usual else self.max_concurrency,
        }

    def __repr__(self) -> str:
        name = self._given if isinstance(self._given, str) else type(self._given).__name__
        return f"LLMBackend({name}, {self.model!r})"


def _dialect(llm: LLM) -> Dialect:
    if not _is_chat(llm):
        return COMPLETIONS
    names = {cls.__name__ for cls in type(llm).__mro__}
    return RESPONSES if names & _RESPONSES else Dialect()


def _is_chat(llm: LLM) -> bool:
    return bool(llm.metadata.is_chat_model)


def _is_async(llm: LLM) -> bool:
    """True if the LLM's asynchronous methods do more than call the synchronous ones."""
    name = "achat" if _is_chat(llm) else "acomplete"
    if {cls.__name__ for cls in type(llm).__mro__} & _ASYNC_BY_NAME:
        return False
    # Without the wrappers that the framework's tracing puts around the methods of each class.
    own, inherited = (inspect.unwrap(getattr(cls, name)) for cls in (type(llm), CustomLLM))
    return own is not inherited


def _model_name(llm: LLM) -> str:
    try:
        name: object = llm.metadata.model_name
    except Exception:  # noqa: BLE001 - some look the name up in a table; the call will fail
        name = getattr(llm, "model", None)
    known = isinstance(name, str) and name not in ("", "unknown")
    return str(name) if known else type(llm).__name__


def _messages(messages: Messages) -> List[ChatMessage]:
    return [ChatMessage(role=role, content=content) for role, content in messages.messages]


def _prompt(llm: LLM, messages: Messages) -> str:
    """Write messages as a text to continue, in the LLM's own prompt format."""
    if not messages.chat:
        return messages.text
    to_prompt = llm.messages_to_prompt or generic_messages_to_prompt
    return to_prompt(_messages(messages)) + messages.prefill


def _said(response: ChatResponse) -> Said:
    return _answer(response, response.message.content, continued=False)


def _completed(response: CompletionResponse) -> Said:
    return _answer(response, response.text, continued=True)


def _answer(
    response: ChatResponse | CompletionResponse, text: Optional[str], *, continued: bool
) -> Said:
    raw = _mapping(response.raw)
    choices = raw.get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    read, written = tokens_used(response.additional_kwargs)
    if not read and not written:
        read, written = tokens_used(raw.get("usage") or raw)
    return Said(
        text or "",
        # Some integrations read one format of them and drop the others.
        read_positions(response.logprobs or choice.get("logprobs")),
        cut=_finish_reason(choice, raw) in _CUT,
        prompt_tokens=read,
        generated_tokens=written,
        continued=continued,
    )


def _finish_reason(*holders: Mapping[str, Any]) -> str:
    names = ("finish_reason", "stop_reason", "done_reason")
    found = (holder.get(name) for holder in holders for name in names)
    return str(next(filter(None, found), "")).lower()


def _mapping(raw: object) -> Dict[str, Any]:
    if isinstance(raw, Mapping):
        return dict(raw)
    return dict(vars(raw)) if hasattr(raw, "__dict__") else {}
