"""What a server can do, learnt by asking it. No I/O: exchanges."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...calls import Call, Generate, Likelihood, NextToken, ScorePair
from ...errors import CallError, ConfigurationError, PromptTooLongError
from .._answers.logprobs import read_positions
from . import wire
from .exchange import Exchange, RefusedError, get, post

NOT_FOUND = 404

LabelRoute = Literal["exact", "sglang", "top"]
"""How labels are asked for: by token id in vLLM's way or in SGLang's, or as the likeliest N."""

PairRoute = Literal["/score", "/rerank", "rerank"]
"""Where pairs are scored: vLLM's own path, TEI's, or that of Jina, Cohere and many others."""

TOP = (1000, 100, 20, 10, 5)
"""How many alternatives are asked for, most first: a server refuses, or takes, each."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the server says about a model.

    Args:
        name: What it calls the model.
        context: Tokens of prompt and answer together; None where it does not say.
        owner: Who it says owns the model: ``"vllm"``, ``"sglang"``, ``"llamacpp"``.
    """

    name: str
    context: int | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """How labels are asked for, and with the route ``"top"``, how many are reported at most."""

    route: LabelRoute
    top: int = 0


@dataclass(slots=True)
class Server:
    """A model on a server, and what was learnt about it.

    Attributes:
        model: Its name there, as the server spells it once it has said so.
        answered_by: Another name by which it answers.
        context: Tokens of prompt and answer together at most, where the caller said so.
        served: What the server says about it.
        labels: How labels are asked for; None where they cannot be.
        echoes: Whether it reports the log-probabilities of a prompt.
        pairs: Where it scores pairs; None where it does not.
        continues: Whether it goes on with a chat answer that was begun.
        learnt: The kinds of call about which it was asked.
        proven: Whether the model has answered at all.
    """

    model: str
    answered_by: str | None = None
    context: int | None = None
    served: Served | None = None
    labels: Labels | None = None
    echoes: bool = False
    pairs: PairRoute | None = None
    continues: bool = False
    learnt: set[type[Call[Any]]] = field(default_factory=set)
    proven: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which the model may answer."""
        return (self.model,) if self.answered_by is None else (self.model, self.answered_by)

    def unknown(self, kinds: Iterable[type[Call[Any]]]) -> bool:
        """Whether there is anything to `learn` about some kinds of call."""
        return self.served is None or not self.learnt.issuperset(kinds)

    def check_room(self, prompt_tokens: int, room: int) -> None:
        """Refuse a prompt that cannot fit, before it is sent.

        Raises:
            PromptTooLongError: It is too long.
        """
        limit = self.context or (self.served.context if self.served else None)
        if limit is not None and prompt_tokens + room > limit:
            raise PromptTooLongError(prompt_tokens + room - limit, limit=limit)


def learn(
    server: Server, kinds: Iterable[type[Call[Any]]], probe: Sequence[int] | None
) -> Exchange[None]:
    """Learn what the server can do about some kinds of call, once.

    Args:
        server: What is known is kept here; where the server fails, nothing is.
        kinds: What will be asked.
        probe: A short prompt as token ids; None where prompts go as messages.

    Raises:
        ConfigurationError: The server has no such model, or refuses the key.
        CallError: The server failed.
    """
    if server.served is None:
        server.served = yield from served(server)
        server.model = server.served.name
    for kind in kinds:
        if kind not in server.learnt:
            yield from _learn(server, kind, probe)
            server.learnt.add(kind)


def _learn(server: Server, kind: type[Call[Any]], probe: Sequence[int] | None) -> Exchange[None]:
    if kind is ScorePair:
        server.pairs = yield from pair_route(server.model)
    elif probe is None:
        if not server.learnt & {NextToken, Generate}:
            server.continues = yield from continues(server.model)
    elif kind is NextToken:
        owner = server.served.owner if server.served else ""
        server.labels = yield from label_route(server, probe, owner)
    elif kind is Likelihood:
        server.echoes = yield from echoes(server, probe)


def served(server: Server) -> Exchange[Served]:
    """What the server says about the model; nothing, where it does not list its models.

    A name that stands behind another folder there, or behind none, is the same where it is the
    only one: ``castorini/first_mistral`` may be served as ``/models/first_mistral``.

    Raises:
        ConfigurationError: It lists them, and has none of that name.
        CallError: It failed.
    """
    try:
        answer = yield from get("models")
    except RefusedError:
        return Served(server.model)
    data = answer.get("data") if isinstance(answer, Mapping) else None
    rows = [r for r in data if isinstance(r, Mapping)] if isinstance(data, list) else []
    by_name = {str(row.get("id")): row for row in rows}
    name = _listed(server, list(by_name))
    if name is None:
        return Served(server.model)
    return Served(name, _context(by_name[name]), str(by_name[name].get("owned_by", "")))


def ask(server: Server, path: str, body: Mapping[str, Any]) -> Exchange[Any]:
    """Post a question to the model.

    Raises:
        ConfigurationError: It is not there, and never was.
        CallError: What came of the request instead.
    """
    try:
        answer = yield from post(path, body)
    except RefusedError as error:
        # Where it has answered before, something between us and it is out of order.
        if error.status == NOT_FOUND and not server.proven:
            raise ConfigurationError(
                f"the server has no model {server.model!r} or no /{path} (404: {error.detail})",
                hint="Check model and base_url. With tokenizer=... it needs /completions, without "
                "one /chat/completions.",
            ) from error
        raise
    server.proven = True
    return answer


def label_route(server: Server, prompt: Sequence[int], owner: str) -> Exchange[Labels | None]:
    """How to ask for labels after a prompt of token ids; None where it cannot be done.

    Two tokens of the prompt are asked for: whatever the model thinks of them, they are reported
    where the server understands the question.
    """
    wanted = sorted(set(prompt))[:2]
    if owner == "sglang":
        answer = yield from _tried("/generate", sglang_body(prompt, wanted))
        if answer is not None and wire.sglang_ids(answer).keys() >= set(wanted):
            return Labels("sglang")
    answer = yield from _asked(server, exact_body(server.model, prompt, wanted))
    if answer is not None and _reported(answer, server).keys() >= set(wanted):
        return Labels("exact")
    for top in TOP:
        answer = yield from _asked(server, top_body(server.model, prompt, top))
        if answer is not None:
            first = read_positions(wire.first_choice(answer, server.names).get("logprobs"))[:1]
            return Labels("top", top) if first else None
    return None


def echoes(server: Server, prompt: Sequence[int]) -> Exchange[bool]:
    """Whether the server reports the log-probabilities of a prompt's own tokens."""
    answer = yield from _asked(server, echo_body(server.model, prompt))
    if answer is None:
        return False
    try:
        wire.prompt_logprobs(wire.first_choice(answer, server.names), len(prompt))
    except CallError:
        return False
    return True


def pair_route(model: str) -> Exchange[PairRoute | None]:
    """Where the server scores pairs of a query and a passage; None: nowhere."""
    routes: tuple[PairRoute, ...] = ("/score", "/rerank", "rerank")
    for route in routes:
        answer = yield from _tried(route, pair_body(route, model, "a", ["b", "c"]))
        try:
            if answer is not None and None not in wire.pair_scores(answer, 2):
                return route
        except CallError:
            continue  # something else answers there
    return None


def continues(model: str) -> Exchange[bool]:
    """Whether the server lets a chat model go on with an answer that was begun for it.

    Where it does, the beginning costs its own token or two; where it does not, also those that
    end one message and begin the next.
    """
    plain = yield from _tried("chat/completions", _hello(model))
    begun = yield from _tried("chat/completions", {**_hello(model), **continued(_HELLO, "[")})
    if plain is None or begun is None:
        return False
    more = wire.usage(begun)[0] - wire.usage(plain)[0]
    return 0 < more <= 2


_HELLO: tuple[tuple[str, str], ...] = (("user", "Hello"),)


def _hello(model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1, "temperature": 0, "messages": spelled(_HELLO)}


def spelled(messages: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Messages as JSON."""
    return [{"role": role, "content": content} for role, content in messages]


def continued(messages: Sequence[tuple[str, str]], prefill: str) -> dict[str, Any]:
    """The arguments for messages whose answer begins with ``prefill``."""
    return {
        "messages": spelled((*messages, ("assistant", prefill))),
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def exact_body(model: str, prompt: Sequence[int], wanted: Sequence[int]) -> dict[str, Any]:
    """One token, and the log-probabilities of the ``wanted`` ones: vLLM's way."""
    return {**top_body(model, prompt, 1), "logprob_token_ids": list(wanted)}


def top_body(model: str, prompt: Sequence[int], top: int) -> dict[str, Any]:
    """One token, and the ``top`` likeliest in its place."""
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": top,
        "return_tokens_as_token_ids": True,
    }


def echo_body(model: str, prompt: Sequence[int]) -> dict[str, Any]:
    """The log-probabilities of a prompt's own tokens."""
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": 1,
        "temperature": 0,
        "echo": True,
        "logprobs": 1,
    }


def sglang_body(prompt: Sequence[int], wanted: Sequence[int]) -> dict[str, Any]:
    """One token, and the log-probabilities of the ``wanted`` ones: SGLang's way."""
    return {
        "input_ids": list(prompt),
        "sampling_params": {"max_new_tokens": 1, "temperature": 0},
        "return_logprob": True,
        "token_ids_logprob": list(wanted),
    }


def pair_body(route: PairRoute, model: str, query: str, passages: Sequence[str]) -> dict[str, Any]:
    """One query with its passages, each scored by itself; logits where they can be asked for."""
    texts = list(passages)
    if route == "/score":
        return {"model": model, "text_1": query, "text_2": texts, "use_activation": False}
    if route == "/rerank":
        return {"query": query, "texts": texts, "raw_scores": True}
    return {"model": model, "query": query, "documents": texts, "top_n": len(texts)}


def _tried(path: str, body: Mapping[str, Any]) -> Exchange[Any]:
    """The answer, or None where the server refuses the question.

    A server that is down or busy refuses nothing: its error is raised and nothing is learnt.
    """
    try:
        return (yield from post(path, body))
    except RefusedError:
        return None


def _asked(server: Server, body: Mapping[str, Any]) -> Exchange[Any]:
    """`_tried` with a question to the model itself: it has to be there."""
    try:
        return (yield from ask(server, "completions", body))
    except RefusedError:
        return None


def _reported(answer: Any, server: Server) -> Mapping[int, Any]:
    return wire.reported_ids(wire.first_choice(answer, server.names))


def _listed(server: Server, names: Sequence[str]) -> str | None:
    """The name among ``names`` that is the model's; None where it need not be there."""
    short = server.model.rpartition("/")[2]
    same = [name for name in names if name.rpartition("/")[2] == short]
    if server.model in names or len(same) == 1:
        return server.model if server.model in names else same[0]
    if not names or server.answered_by is not None:
        return None
    hint = _instead(server.model, same or names)
    raise ConfigurationError(f"the server has no model {server.model!r}", hint=hint)


def _instead(model: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(model, names, n=5, cutoff=0.3) or sorted(names)[:5]
    return f"It has {', '.join(map(repr, close))}{' and others' * (len(names) > len(close))}."


def _context(row: Mapping[str, Any]) -> int | None:
    meta = row.get("meta")
    places = (row.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, Mapping) else None)
    return next((x for x in places if type(x) is int and x > 0), None)
