"""Calls to a server as token ids: the prompt is rendered and tokenized here. No I/O."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...calls import (
    Completion,
    ContinuationLogprob,
    Generate,
    LabelLogprobs,
    NextToken,
    Reply,
    with_cost,
)
from ...errors import CallError, LogprobsError, UnsupportedCallError
from .._answers.logprobs import asked_together, read_label_ids, read_labels, read_positions
from .._prompts.renderer import Encoded
from . import capabilities, wire
from .capabilities import Labels, Server, ask
from .exchange import Exchange, RefusedError, post


def next_token(
    server: Server, call: NextToken, encoded: Encoded, ids: Mapping[str, int]
) -> Exchange[Reply[LabelLogprobs]]:
    """Request the log-probabilities of labels: of exactly these, or those among the likeliest.

    Args:
        server: The server.
        call: The call.
        encoded: Its prompt.
        ids: The token id of each label.
    """
    server.check_room(len(encoded.ids), 1)
    if not isinstance(server.labels, Labels):
        raise LogprobsError(
            f"the server reports no log-probabilities{_words(server.labels)}",
            hint="Allow generation with SingleToken(policy='generate'), or use Permutation.",
        )
    if server.labels.route == "sglang":
        body = capabilities.sglang_body(encoded.ids, list(ids.values()))
        answer = yield from post("/generate", body)
        with _billed((len(encoded.ids), 1)):
            exactly = read_label_ids(wire.sglang_ids(answer), ids, exact=True)
        return Reply(exactly, len(encoded.ids), 1, encoded.truncated)
    if server.labels.route == "exact":
        return (yield from _exactly(server, encoded, ids))
    body = capabilities.top_body(server.model, encoded.ids, server.labels.top)
    answer = yield from ask(server, "completions", body)
    with _billed(wire.usage(answer)):
        choice = wire.first_choice(answer, server.names)
        if values := wire.reported_ids(choice):
            found = read_label_ids(values, ids, exact=False)
        else:  # texts only
            found = read_labels(read_positions(choice.get("logprobs"))[:1], call.labels)
    return _reply(answer, found, encoded)


def _exactly(
    server: Server, encoded: Encoded, ids: Mapping[str, int]
) -> Exchange[Reply[LabelLogprobs]]:
    """The log-probabilities of exactly these labels, in as many requests as that takes."""
    values: dict[int, Any] = {}
    read = written = 0
    for group in asked_together(list(ids.values())):
        body = capabilities.exact_body(server.model, encoded.ids, group)
        with _billed((read, written)):
            answer = yield from ask(server, "completions", body)
        read, written = (a + b for a, b in zip((read, written), wire.usage(answer), strict=True))
        with _billed((read, written)):
            values |= wire.reported_ids(wire.first_choice(answer, server.names))
    with _billed((read, written)):
        found = read_label_ids(values, ids, exact=True)
    return Reply(found, read or len(encoded.ids), written, encoded.truncated)


def generate(server: Server, call: Generate, encoded: Encoded) -> Exchange[Reply[Completion]]:
    """Let the model write after the prompt."""
    server.check_room(len(encoded.ids), call.max_tokens)
    body: dict[str, Any] = {
        "model": server.model,
        "prompt": encoded.ids,
        "max_tokens": call.max_tokens,
        "temperature": call.temperature,
    }
    if call.temperature > 0:
        body["top_p"] = call.top_p
        body |= {"top_k": call.top_k} if call.top_k else {}
        body |= {} if call.seed is None else {"seed": call.seed}
    body |= {"stop": list(call.stop)} if call.stop else {}
    body |= {"logprobs": 1} if call.logprobs else {}
    answer = yield from ask(server, "completions", body)
    with _billed(wire.usage(answer)):
        choice = wire.first_choice(answer, server.names)
        written = wire.completion(choice, logprobs=call.logprobs)
    return _reply(answer, written, encoded)


def likelihood(server: Server, encoded: Encoded, new: int) -> Exchange[Reply[ContinuationLogprob]]:
    """Request the log-probability of the last ``new`` tokens of ``encoded``."""
    if server.echoes is not True:
        raise UnsupportedCallError(
            "the server does not report the log-probabilities of a prompt" + _words(server.echoes),
            hint="vLLM does (echo). Elsewhere use a strategy that asks for labels or for text.",
        )
    server.check_room(len(encoded.ids), 1)
    body = capabilities.echo_body(server.model, encoded.ids)
    answer = yield from ask(server, "completions", body)
    with _billed(wire.usage(answer)):
        values = wire.prompt_logprobs(wire.first_choice(answer, server.names), len(encoded.ids))
    total = sum(values[len(values) - new :])
    return _reply(answer, ContinuationLogprob(total, new), encoded)


@contextmanager
def _billed(cost: tuple[int, int]) -> Iterator[None]:
    """Add the tokens of answers to an error that is raised inside."""
    try:
        yield
    except CallError as error:
        raise with_cost(error, *cost) from error.__cause__


def _words(refusal: object) -> str:
    """The server's own words, in parentheses; empty if it did not refuse."""
    if isinstance(refusal, RefusedError):
        return f" ({refusal.status}: {refusal.detail})"
    return ""


def _reply(answer: Any, found: Any, encoded: Encoded) -> Reply[Any]:
    read, written = wire.usage(answer)
    return Reply(found, read or len(encoded.ids), written, encoded.truncated)
