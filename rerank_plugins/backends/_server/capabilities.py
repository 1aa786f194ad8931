"""A server's capabilities, found by probing it with small requests. No I/O: exchanges."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...calls import Call, Generate, Likelihood, NextToken, ScorePair
from ...errors import CallError, ConfigurationError, PromptTooLongError
from .._answers.failures import NOT_FOUND
from .._answers.logprobs import read_positions
from . import wire
from .exchange import Exchange, RefusedError, get, post

LabelRoute = Literal["exact", "sglang", "top"]
"""How labels are requested: by token id as vLLM or SGLang takes them, or as the likeliest N."""

PairRoute = Literal["/score", "/rerank", "rerank"]
"""Where pairs are scored: vLLM's own path, TEI's, or that of Jina, Cohere and many others."""

TOP = (1000, 100, 20, 10, 5)
"""Numbers of alternatives to request, largest first: a server accepts or refuses each."""

_HELLO: tuple[tuple[str, str], ...] = (("user", "Hello"),)


@dataclass(frozen=True, slots=True)
class Served:
    """A model as the server describes it.

    Args:
        name: The server's name for the model.
        context: Tokens of prompt and answer together; None if the server does not say.
        owner: The owner of the model in the server's list: ``"vllm"``, ``"sglang"``,
            ``"llamacpp"``.
    """

    name: str
    context: int | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """The route for labels; with ``"top"``, also how many alternatives the server reports."""

    route: LabelRoute
    top: int = 0


@dataclass(slots=True)
class Server:
    """A model on a server, and its capabilities so far as they are known.

    Attributes:
        model: Its name there, in the server's own spelling once the server has listed it.
        answered_by: Another name under which it answers.
        context: Maximum of prompt and answer together in tokens, if the caller gave it.
        served: The server's description of the model.
        labels: How labels are requested; None if they cannot be.
        echoes: True if it reports the log-probabilities of a prompt.
        pairs: Where it scores pairs; None if nowhere.
        continues: True if it continues a given beginning of a chat answer.
        probed: The kinds of call for which it was probed.
        proven: True if the model has answered at least once.
    """

    model: str
    answered_by: str | None = None
    context: int | None = None
    served: Served | None = None
    labels: Labels | None = None
    echoes: bool = False
    pairs: PairRoute | None = None
    continues: bool = False
    probed: set[type[Call[Any]]] = field(default_factory=set)
    proven: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which the model may answer."""
        return (self.model,) if self.answered_by is None else (self.model, self.answered_by)

    def unprobed(self, kinds: Iterable[type[Call[Any]]]) -> bool:
        """Whether `probe` has anything to find out about some kinds of call."""
        return self.served is None or not self.probed.issuperset(kinds)

    def check_room(self, prompt_tokens: int, room: int) -> None:
        """Refuse a prompt that cannot fit, before it is sent.

        Raises:
            PromptTooLongError: It is too long.
        """
        limit = self.context or (self.served.context if self.served else None)
        if limit is not None and prompt_tokens + room > limit:
            raise PromptTooLongError(prompt_tokens + room - limit, limit=limit)


def probe(
    server: Server, kinds: Iterable[type[Call[Any]]], sample: Sequence[int] | None
) -> Exchange[None]:
    """Find out what the server can do for some kinds of call, once.

    Args:
        server: Keeps what is found; unchanged for a kind whose probe fails.
        kinds: The kinds of call to come.
        sample: A short prompt as token ids; None if prompts are sent as messages.

    Raises:
        ConfigurationError: The server does not have the model, or refuses the key.
        CallError: The server failed.
    """
    if server.served is None:
        server.served = yield from served(server)
        server.model = server.served.name
    for kind in kinds:
        if kind not in server.probed:
            yield from _probe_kind(server, kind, sample, server.served.owner)
            server.probed.add(kind)


def _probe_kind(
    server: Server, kind: type[Call[Any]], sample: Sequence[int] | None, owner: str
) -> Exchange[None]:
    if kind is ScorePair:
        server.pairs = yield from pair_route(server.model)
    elif sample is None:
        if not server.probed & {NextToken, Generate}:
            server.continues = yield from continues(server.model)
    elif kind is NextToken:
        server.labels = yield from label_route(server, sample, owner)
    elif kind is Likelihood:
        server.echoes = yield from echoes(server, sample)


def served(server: Server) -> Exchange[Served]:
    """The server's description of the model; only its name if the server lists no models.

    A name with another folder or without one counts as the same model if it is the only match:
    ``castorini/first_mistral`` may be served as ``/models/first_mistral``.

    Raises:
        ConfigurationError: The server lists its models, and this is not among them.
        CallError: The server failed.
    """
    try:
        answer = yield from get("models")
    except RefusedError:
        return Served(server.model)
    data = answer.get("data") if isinstance(answer, Mapping) else None
    rows = [r for r in data if isinstance(r, Mapping)] if isinstance(data, list) else []
    by_name = {str(row.get("id")): row for row in rows}
    name = _listed_name(server, list(by_name))
    if name is None:
        return Served(server.model)
    row, meta = by_name[name], by_name[name].get("meta")
    sizes = (row.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, Mapping) else None)
    context = next((x for x in sizes if type(x) is int and x > 0), None)
    return Served(name, context, str(row.get("owned_by", "")))


def ask(server: Server, path: str, body: Mapping[str, Any]) -> Exchange[Any]:
    """Post a question to the model.

    Raises:
        ConfigurationError: The model was not found, and has never answered.
        CallError: The request failed.
    """
    try:
        answer = yield from post(path, body)
    except RefusedError as error:
        # A model that has answered before exists: then something in between is out of order.
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
    """Find how to request labels after a prompt of token ids; None if there is no way.

    The probe requests two tokens of the prompt itself: however unlikely they are, a server that
    understands the request reports them.
    """
    wanted = sorted(set(prompt))[:2]
    if owner == "sglang":
        answer = yield from _tried(post("/generate", sglang_body(prompt, wanted)))
        if answer is not None and wire.sglang_ids(answer).keys() >= set(wanted):
            return Labels("sglang")
    answer = yield from _tried(ask(server, "completions", exact_body(server.model, prompt, wanted)))
    if answer is not None:
        reported = wire.reported_ids(wire.first_choice(answer, server.names))
        if reported.keys() >= set(wanted):
            return Labels("exact")
    for top in TOP:
        answer = yield from _tried(ask(server, "completions", top_body(server.model, prompt, top)))
        if answer is not None:
            first = read_positions(wire.first_choice(answer, server.names).get("logprobs"))[:1]
            return Labels("top", top) if first else None
    return None


def echoes(server: Server, prompt: Sequence[int]) -> Exchange[bool]:
    """Whether the server reports the log-probabilities of a prompt's own tokens."""
    answer = yield from _tried(ask(server, "completions", echo_body(server.model, prompt)))
    if answer is None:
        return False
    try:
        wire.prompt_logprobs(wire.first_choice(answer, server.names), len(prompt))
    except CallError:
        return False
    return True


def pair_route(model: str) -> Exchange[PairRoute | None]:
    """Find where the server scores pairs of a query and a passage; None if nowhere."""
    routes: tuple[PairRoute, ...] = ("/score", "/rerank", "rerank")
    for route in routes:
        answer = yield from _tried(post(route, pair_body(route, model, "a", ["b", "c"])))
        if wire.has_pair_scores(answer, 2):  # or the path serves something else
            return route
    return None


def continues(model: str) -> Exchange[bool]:
    """Whether the server continues a given beginning of a chat answer.

    If it does, the beginning costs its own one or two tokens; if not, also those that end one
    message and start the next.
    """
    hello = {"model": model, "max_tokens": 1, "temperature": 0, "messages": as_json(_HELLO)}
    plain = yield from _tried(post("chat/completions", hello))
    given = yield from _tried(post("chat/completions", {**hello, **continued(_HELLO, "[")}))
    if plain is None or given is None:
        return False
    more = wire.usage(given)[0] - wire.usage(plain)[0]
    return 0 < more <= 2


def as_json(messages: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Messages as JSON."""
    return [{"role": role, "content": content} for role, content in messages]


def continued(messages: Sequence[tuple[str, str]], prefill: str) -> dict[str, Any]:
    """The arguments for messages whose answer begins with ``prefill``."""
    return {
        "messages": as_json((*messages, ("assistant", prefill))),
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def exact_body(model: str, prompt: Sequence[int], wanted: Sequence[int]) -> dict[str, Any]:
    """A request for one token and the log-probabilities of the ``wanted`` ones, for vLLM."""
    return {**top_body(model, prompt, 1), "logprob_token_ids": list(wanted)}


def top_body(model: str, prompt: Sequence[int], top: int) -> dict[str, Any]:
    """A request for one token and the ``top`` likeliest in its place."""
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": top,
        "return_tokens_as_token_ids": True,
    }


def echo_body(model: str, prompt: Sequence[int]) -> dict[str, Any]:
    """A request for the log-probabilities of a prompt's own tokens."""
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": 1,
        "temperature": 0,
        "echo": True,
        "logprobs": 1,
    }


def sglang_body(prompt: Sequence[int], wanted: Sequence[int]) -> dict[str, Any]:
    """A request for one token and the log-probabilities of the ``wanted`` ones, for SGLang."""
    return {
        "input_ids": list(prompt),
        "sampling_params": {"max_new_tokens": 1, "temperature": 0},
        "return_logprob": True,
        "token_ids_logprob": list(wanted),
    }


def pair_body(route: PairRoute, model: str, query: str, passages: Sequence[str]) -> dict[str, Any]:
    """A request to score each passage for one query; for logits if the route can ask for them."""
    texts = list(passages)
    if route == "/score":
        return {"model": model, "text_1": query, "text_2": texts, "use_activation": False}
    if route == "/rerank":
        return {"query": query, "texts": texts, "raw_scores": True}
    return {"model": model, "query": query, "documents": texts, "top_n": len(texts)}


def _tried(exchange: Exchange[Any]) -> Exchange[Any]:
    """The answer, or None if the server refuses the request.

    The error of a server that is down or busy is not a refusal: it is raised.
    """
    try:
        return (yield from exchange)
    except RefusedError:
        return None


def _listed_name(server: Server, names: Sequence[str]) -> str | None:
    """The model's name among ``names``; None if it may be missing there."""
    short = server.model.rpartition("/")[2]
    same = [name for name in names if name.rpartition("/")[2] == short]
    if server.model in names or len(same) == 1:
        return server.model if server.model in names else same[0]
    if not names or server.answered_by is not None:
        return None
    known = same or names
    close = difflib.get_close_matches(server.model, known, n=5, cutoff=0.3) or sorted(known)[:5]
    others = " and others" if len(known) > len(close) else ""
    raise ConfigurationError(
        f"the server has no model {server.model!r}",
        hint=f"It has {', '.join(map(repr, close))}{others}.",
    )
