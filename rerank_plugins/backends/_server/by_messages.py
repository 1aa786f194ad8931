"""Calls to a server as chat messages: the template and the tokenizer are on the other side."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...calls import Generate, NextToken, Reply
from ...errors import CallError
from .._answers.logprobs import read_positions
from ..chat._conversation import Asked, Known, Said, converse
from . import capabilities, wire
from .capabilities import Server
from .exchange import Exchange


def ask(server: Server, call: NextToken | Generate, known: Known) -> Exchange[Reply[Any]]:
    """Answer a call by a chat, or by a text completion where its prompt is no chat."""
    talk = converse(call, known)
    chat = call.prompt.chat
    said: Said | Exception | None = None
    while True:
        try:
            asked = next(talk) if said is None else talk.send(said)
        except StopIteration as done:
            if isinstance(done.value, CallError):
                raise done.value from None
            reply: Reply[Any] = done.value
            return reply
        path = "chat/completions" if chat else "completions"
        try:
            answer = yield from capabilities.ask(server, path, _body(server, asked, chat=chat))
            said = _said(server, answer)
        except CallError as error:
            said = error
        if isinstance(said, Said) and (not chat or _begun(server, asked)):
            said = replace(said, continued=True)


def _begun(server: Server, asked: Asked) -> bool:
    return bool(server.continues and asked.messages.prefill)


def _body(server: Server, asked: Asked, *, chat: bool) -> Mapping[str, Any]:
    messages = asked.messages
    if not chat:
        content: dict[str, Any] = {"prompt": messages.text}
    elif _begun(server, asked):
        content = capabilities.continued(messages.messages, messages.prefill)
    else:
        content = {"messages": capabilities.spelled(messages.messages)}
    return {"model": server.model, **content, **asked.arguments}


def _said(server: Server, answer: Any) -> Said:
    choice = wire.first_choice(answer, server.names)
    written = wire.completion(choice, "", logprobs=False)
    read, generated = wire.usage(answer)
    return Said(
        written.text,
        read_positions(choice.get("logprobs")),
        written.finish_reason == "length",
        read,
        generated,
    )
