# SPDX-License-Identifier: Apache-2.0
"""A chat generator of the application as a backend."""

import copy
import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from haystack.components.generators.chat.types import ChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tracing.tracer import Span, tracer
from haystack.utils import Secret

from rerank_plugins import BackendError, ConfigurationError, InputError
from rerank_plugins.backends.chat import (
    MAX_CONCURRENCY,
    MUTE,
    OLLAMA,
    RESPONSES,
    TRANSFORMERS,
    Asked,
    ChatModelBackend,
    Dialect,
    Said,
    read_positions,
    tokens_used,
)
from rerank_plugins.components import off_loop

# By class names, so that no client is imported that the application does not use.
_DIALECTS = {
    "HuggingFaceLocalChatGenerator": TRANSFORMERS,
    "OllamaChatGenerator": OLLAMA,
    "OpenAIResponsesChatGenerator": RESPONSES,
    "TransformersChatGenerator": TRANSFORMERS,
}
_IN_PROCESS = frozenset(
    {"HuggingFaceLocalChatGenerator", "LlamaCppChatGenerator", "TransformersChatGenerator"}
)
_MESSAGE = {
    "assistant": ChatMessage.from_assistant,
    "system": ChatMessage.from_system,
    "user": ChatMessage.from_user,
}
_CUT = frozenset({"length", "max_tokens", "max_output_tokens"})


class ChatGeneratorBackend(ChatModelBackend):
    """Answers by a Haystack chat generator, with log-probabilities if it reports them.

    They are requested as in OpenAI's API and read from ``reply.meta["logprobs"]``. Arguments that
    the generator rejects are remembered, so that they are sent once. Nothing reaches its streaming
    callback, and its tools are not offered. Options that it was built with apply unless a call sets
    them: a ``response_format`` among them breaks rankings.

    :param chat_generator: Anything with a chat generator's ``run``, and ``run_async`` if it has it.
    :param max_concurrency: How many calls of one batch run at once. By default 8, and 1 for a
        model in this process.

    ### Usage example

    ```python
    from haystack.components.generators.chat import MockChatGenerator
    from haystack_integrations.components.rankers.rerank_plugins import ChatGeneratorBackend
    from rerank_plugins import Reranker

    backend = ChatGeneratorBackend(MockChatGenerator("[B] > [A]"))
    ranking = Reranker("permutation", backend).rank("how long does a flea live?", ["a", "b"])
    ```
    """

    def __init__(
        self, chat_generator: ChatGenerator, *, max_concurrency: int | None = None
    ) -> None:
        if isinstance(chat_generator, type) or not callable(getattr(chat_generator, "run", None)):
            raise InputError(f"{chat_generator!r} is not a chat generator")
        names = {cls.__name__ for cls in type(chat_generator).__mro__}
        usual = 1 if names & _IN_PROCESS else MAX_CONCURRENCY
        super().__init__(
            _dialect(chat_generator, names),
            usual if max_concurrency is None else max_concurrency,
            secrets=lambda: _secrets(chat_generator),
        )
        self.chat_generator = chat_generator
        self._warming = threading.Lock()

    @property
    def model(self) -> str:
        """The name of the generator's model; the generator's class if it does not say."""
        options = getattr(self.chat_generator, "huggingface_pipeline_kwargs", None) or {}
        found = [getattr(self.chat_generator, name, None) for name in ("model", "azure_deployment")]
        names = (x for x in (*found, options.get("model")) if isinstance(x, str) and x)
        return next(names, type(self.chat_generator).__name__)

    def warm_up(self) -> None:
        """Warm up the generator, if it has ``warm_up``.

        :raises ConfigurationError: That failed, because a key is missing, for example.
        """
        with self._warming, _set_up(self.chat_generator):
            if hasattr(self.chat_generator, "warm_up"):
                self.chat_generator.warm_up()

    async def awarm_up(self) -> None:
        """`warm_up`, without blocking the event loop."""
        if hasattr(self.chat_generator, "warm_up_async"):
            with _set_up(self.chat_generator):
                await self.chat_generator.warm_up_async()
        else:
            await off_loop(self.warm_up)

    def close(self) -> None:
        """Close the generator, if it has ``close``."""
        if hasattr(self.chat_generator, "close"):
            self.chat_generator.close()

    async def aclose(self) -> None:
        """`close`, without blocking the event loop."""
        if hasattr(self.chat_generator, "close_async"):
            await self.chat_generator.close_async()
        else:
            await off_loop(self.close)

    def ask(self, asked: Asked) -> Said:
        """Run the generator."""
        generator = _quiet(self.chat_generator)
        inputs = _inputs(asked)
        with _span(generator, inputs) as span:
            result = generator.run(**inputs)
            span.set_content_tag("haystack.component.output", result)
        return _said(result)

    async def aask(self, asked: Asked) -> Said:
        """Run the generator on the event loop, or in a thread if it has no ``run_async``."""
        if not hasattr(self.chat_generator, "run_async"):
            return await super().aask(asked)
        generator = _quiet(self.chat_generator)
        inputs = _inputs(asked)
        with _span(generator, inputs) as span:
            result = await generator.run_async(**inputs)
            span.set_content_tag("haystack.component.output", result)
        return _said(result)

    def _arguments(self) -> dict[str, Any]:
        return {"chat_generator": self.chat_generator, "max_concurrency": self.max_concurrency}

    def __repr__(self) -> str:
        return f"ChatGeneratorBackend({type(self.chat_generator).__name__}, {self.model!r})"


def _dialect(generator: Any, names: set[str]) -> Dialect:
    parameters = inspect.signature(generator.run).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "generation_kwargs" not in parameters and not takes_all:
        return MUTE
    return next((_DIALECTS[name] for name in sorted(names) if name in _DIALECTS), Dialect())


def _inputs(asked: Asked) -> dict[str, Any]:
    messages = [_MESSAGE[role](content) for role, content in asked.messages.messages]
    options = {"generation_kwargs": dict(asked.arguments)} if asked.arguments else {}
    return {"messages": messages, **options}


def _quiet(generator: Any) -> Any:
    """A copy of the generator without its streaming callback and tools, which shares its client.

    An application's user should not see the chunks of a ranking.
    """
    silenced = [x for x in ("streaming_callback", "tools") if getattr(generator, x, None)]
    several = getattr(generator, "chat_generators", None)  # of a fallback chat generator
    if not silenced and not isinstance(several, list):
        return generator
    quiet = copy.copy(generator)
    for name in silenced:
        setattr(quiet, name, None)
    if isinstance(several, list):
        quiet.chat_generators = [_quiet(one) for one in several]
    return quiet


@contextmanager
def _span(generator: Any, inputs: dict[str, Any]) -> Iterator[Span]:
    """Open the span that the framework's own components open around a generator."""
    tags = {
        "haystack.component.name": "chat_generator",
        "haystack.component.type": type(generator).__name__,
    }
    parent = tracer.current_span()
    with tracer.trace("haystack.chat_generator.run", tags=tags, parent_span=parent) as span:
        span.set_content_tag("haystack.component.input", inputs)
        yield span


@contextmanager
def _set_up(generator: Any) -> Iterator[None]:
    """Raise any error in the block as a `ConfigurationError`."""
    try:
        yield
    except Exception as error:
        raise ConfigurationError(
            f"{type(generator).__name__} cannot be warmed up: {type(error).__name__}: {error}"
        ) from error


def _said(result: Any) -> Said:
    replies = result.get("replies") if isinstance(result, dict) else None
    if not replies or not isinstance(replies[0], ChatMessage):
        raise BackendError("the chat generator returned no reply")
    reply = replies[0]
    meta = reply.meta or {}
    usage = meta.get("usage")
    read, written = tokens_used(usage)
    return Said(
        "".join(reply.texts),
        read_positions(meta.get("logprobs")),
        cut=str(meta.get("finish_reason") or meta.get("stop_reason")).lower() in _CUT,
        prompt_tokens=read,
        generated_tokens=written,
    )


def _secrets(generator: Any) -> list[str]:
    found = []
    for secret in vars(generator).values():
        if isinstance(secret, Secret):
            try:
                value = secret.resolve_value()
            except ValueError:  # the environment variable is not set
                continue
            found += [value] if isinstance(value, str) else []
    return found
