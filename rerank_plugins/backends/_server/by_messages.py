"""Calls to a server as chat messages: the server applies the template and the tokenizer."""

from typing import Any

from ..._drive import within
from ...calls import Generate, NextToken, Reply, with_cost
from ...errors import CallError
from .._answers.logprobs import read_positions
from ..chat._conversation import Asked, Known, Said, converse
from . import capabilities, wire
from .capabilities import Server
from .exchange import Exchange


def ask(server: Server, call: NextToken | Generate, known: Known) -> Exchange[Reply[Any]]:
    """Answer a call by a chat, or by a text completion if its prompt is not a chat.

    Raises:
        CallError: The call failed.
    """
    chat = call.prompt.chat

    def answered(asked: Asked) -> Exchange[Said | Exception]:
        messages = asked.messages
        continues = chat and server.continues and bool(messages.prefill)
        if not chat:
            content: dict[str, Any] = {"prompt": messages.text}
        elif continues:
            content = capabilities.continued(messages.messages, messages.prefill)
        else:
            content = {"messages": capabilities.as_json(messages.messages)}
        body = {"model": server.model, **content, **asked.arguments}
        path = "chat/completions" if chat else "completions"
        cost = (0, 0)
        try:
            answer = yield from capabilities.ask(server, path, body)
            cost = wire.usage(answer)
            choice = wire.first_choice(answer, server.names)
            written = wire.completion(choice, logprobs=False)
        except CallError as error:
            return with_cost(error, *cost)
        return Said(
            written.text,
            read_positions(choice.get("logprobs")),
            written.finish_reason == "length",
            *cost,
            continued=continues or not chat,
        )

    found = yield from within(converse(call, known), answered)
    if isinstance(found, CallError):
        raise found
    return found
