"""A server's capabilities, found by probing it with small requests. No I/O: exchanges."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from ..._checks import nearest_of
from ...calls import Call, Generate, Likelihood, NextToken, ScorePair
from ...errors import CallError, ConfigurationError, PromptTooLongError, UnsupportedCallError
from .._answers.failures import NOT_FOUND, named
from .._answers.logprobs import read_positions
from .._answers.numbers import to_count
from . import wire
from .exchange import Exchange, RefusedError, get, post

LabelRoute = Literal["exact", "sglang", "top"]
"""How labels are requested: by token id as vLLM or SGLang takes them, or as the likeliest N."""

PairRoute = Literal["vllm", "tei", "infinity", "jina", "voyage"]
"""How pairs are scored: whose path and arguments. Cohere and many others take Jina's."""

PAIR_PATHS: Mapping[PairRoute, str] = {
    "vllm": "/score",
    "tei": "/rerank",
    "infinity": "/rerank",
    "jina": "rerank",
    "voyage": "rerank",
}
"""Where each route is; in the order in which they are tried."""

_TRUNCATION: Mapping[PairRoute, Set[str]] = {
    "vllm": {"truncate_prompt_tokens", "truncation_side", "max_tokens_per_doc"},
    "tei": {"truncate", "truncation_direction"},
    "infinity": set(),
    "jina": {
        "truncate",
        "truncation",
        "truncate_prompt_tokens",
        "max_tokens_per_doc",
        "max_chunks_per_doc",
        "max_doc_length",
    },
    "voyage": {"truncation"},
}

TOP = (1000, 100, 20, 10, 5)
"""Numbers of alternatives to request, largest first: a server accepts or refuses each."""

_ABSENT = frozenset({NOT_FOUND, 405, 501})
_ABOUT_REQUEST = _ABSENT | {400, 403, 415, 422}
"""Statuses of a server that lacks a path or an argument; others are about the account or so."""

_PAIR = ("how long do cats live", ["Cats live for 15 years.", "Rain fell."])
_PASSAGES = (
    "how long do cats live",
    "The stock market closed higher on Friday.",
    "Most cats live for twelve to eighteen years; the oldest one reached thirty-eight.",
    "x",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "A cat is an animal.",
)
_NO_MODEL = "rerank-plugins-no-such-model"
_HELLO: tuple[tuple[str, str], ...] = (("user", "Hello"),)


@dataclass(frozen=True, slots=True)
class Served:
    """A model as the server describes it.

    Args:
        name: The server's name for the model.
        context: Tokens of prompt and answer together; None if the server does not say.
        owner: The owner of the model in the server's list: ``"vllm"``, ``"sglang"``,
            ``"llamacpp"``.
        others: The names that the server lists, if this one is not among them.
    """

    name: str
    context: int | None = None
    owner: str = ""
    others: tuple[str, ...] = ()


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
        labels: How labels are requested; if they cannot be, the server's refusal or None.
        echoes: True if it reports the log-probabilities of a prompt; it may have refused to.
        pairs: How it scores pairs.
        pair_unit: The unit of its scores.
        continues: True if it continues a given beginning of a chat answer.
        probed: The kinds of call for which it was probed.
        proven: True if the model has answered at least once.
        known_as: The name by which the server lists a model that answers to ``model``.
    """

    model: str
    answered_by: str | None = None
    context: int | None = None
    served: Served | None = None
    labels: Labels | RefusedError | None = None
    echoes: bool | RefusedError = False
    pairs: PairRoute | None = None
    pair_unit: Literal["logit", "probability"] = "logit"
    continues: bool = False
    probed: set[type[Call[Any]]] = field(default_factory=set)
    proven: bool = False
    known_as: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which the model may answer."""
        return tuple(x for x in (self.model, self.answered_by, self.known_as) if x is not None)

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

    A refusal is kept only if it is about the arguments that were tried: one about the account, the
    model or the server's state may pass.

    Raises:
        ConfigurationError: The server does not have the model, or refuses the key.
        CallError: The server failed, or refused for another reason than these arguments.
    """
    if server.served is None:
        server.served = yield from served(server)
        server.model = server.served.name
    for kind in kinds:
        if kind not in server.probed and (yield from _probe_kind(server, kind, sample)):
            server.probed.add(kind)


def _probe_kind(
    server: Server, kind: type[Call[Any]], sample: Sequence[int] | None
) -> Exchange[bool]:
    """Whether the server's answers settled what it can do."""
    if kind is ScorePair:
        route, scores = yield from pair_route(server.model)
        server.pair_unit = yield from _pair_unit(server, route, scores)
        server.pairs = route
    elif sample is None:
        if not server.probed & {NextToken, Generate}:
            found = yield from continues(server)
            server.continues = found is True
            return found is not None
    elif kind is NextToken:
        server.labels = yield from label_route(server, sample)
    elif kind is Likelihood:
        server.echoes = yield from echoes(server, sample)
    return True


def served(server: Server) -> Exchange[Served]:
    """The server's description of the model; only its name if the server lists no models.

    A name with another folder or without one counts as the same model if it is the only match:
    ``castorini/first_mistral`` may be served as ``/models/first_mistral``. The list is only a hint:
    servers take aliases, deployments, tags and routes that they do not list.

    Raises:
        CallError: The server failed.
    """
    try:
        answer = yield from get("models")
    except RefusedError:
        return Served(server.model)
    data = answer.get("data") if isinstance(answer, Mapping) else None
    rows = [r for r in data if isinstance(r, Mapping)] if isinstance(data, list) else []
    by_name = {name: row for row in rows if isinstance(name := row.get("id"), str)}
    name = _listed_name(server, by_name)
    if name is None:
        return Served(server.model, others=() if server.known_as else tuple(by_name))
    row, meta = by_name[name], by_name[name].get("meta")
    sizes = (row.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, Mapping) else None)
    context = next((x for x in map(to_count, sizes) if x), None)
    owner = row.get("owned_by")
    return Served(name, context, owner if isinstance(owner, str) else "")


def ask(server: Server, path: str, body: Mapping[str, Any]) -> Exchange[Any]:
    """Post a question to the model.

    Raises:
        ConfigurationError: The model was not found, and has never answered; or the server does not
            list it and answers whatever the model's name is.
        CallError: The request failed.
    """
    try:
        answer = yield from post(path, body)
    except RefusedError as error:
        # A model that has answered before exists: then something in between is out of order.
        if error.status == NOT_FOUND and not server.proven:
            raise ConfigurationError(
                f"the server has no model {server.model!r} or no /{path} (404: {error.detail})",
                hint=_others(server) + "Check model and base_url. With tokenizer=... it needs "
                "/completions, without one /chat/completions.",
            ) from error
        raise
    yield from _vouched(server, path, body, answer)
    server.proven = True
    return answer


def _vouched(server: Server, path: str, body: Mapping[str, Any], answer: Any) -> Exchange[None]:
    """Check once that a model that is not listed is one, although the server answered.

    Some servers answer whatever the model's name is. One that refuses a name which cannot exist
    knows this one: as the name of a deployment, for example.

    Raises:
        ConfigurationError: The server answers to that name too.
        CallError: The server failed.
    """
    names_one = server.served is not None and server.served.others and not server.answered_by
    if not names_one or server.known_as or server.proven:
        return
    try:
        yield from post(path, {**body, "model": _NO_MODEL})
    except RefusedError:
        server.known_as = wire.answering(answer) or server.model
        return
    raise ConfigurationError(
        f"the server has no model {server.model!r}",
        hint=_others(server) + "Give answered_by=... if one of them answers to that name.",
    )


def _others(server: Server) -> str:
    """A hint that names some models of the server; empty if it lists none, or this one."""
    known = server.served.others if server.served else ()
    return f"{nearest_of(server.model, map(repr, known), 'It has')} " if known else ""


def label_route(server: Server, prompt: Sequence[int]) -> Exchange[Labels | RefusedError | None]:
    """Find how to request labels after a prompt of token ids.

    The probe requests two tokens of the prompt itself: however unlikely they are, a server that
    understands the request reports them.

    Returns:
        The route; if there is none, the server's refusal, or None if it answers without labels.

    Raises:
        CallError: The server refused for another reason than the log-probabilities.
    """
    wanted = sorted(set(prompt))[:2]
    if server.served is not None and server.served.owner == "sglang":
        answer = yield from _tried(post("/generate", sglang_body(prompt, wanted)))
        if not isinstance(answer, RefusedError) and wire.sglang_ids(answer).keys() >= set(wanted):
            return Labels("sglang")
    answer = yield from _tried(ask(server, "completions", exact_body(server.model, prompt, wanted)))
    if not isinstance(answer, RefusedError):
        reported = wire.reported_ids(wire.first_choice(answer, server.names))
        if reported.keys() >= set(wanted):
            return Labels("exact")
    for top in TOP:
        answer = yield from _tried(ask(server, "completions", top_body(server.model, prompt, top)))
        if not isinstance(answer, RefusedError):
            first = read_positions(wire.first_choice(answer, server.names).get("logprobs"))[:1]
            return Labels("top", top) if first else None
    return _about(answer, "logprobs")


def echoes(server: Server, prompt: Sequence[int]) -> Exchange[bool | RefusedError]:
    """Whether the server reports the log-probabilities of a prompt's own tokens.

    Raises:
        CallError: The server refused for another reason than these log-probabilities.
    """
    answer = yield from _tried(ask(server, "completions", echo_body(server.model, prompt)))
    if isinstance(answer, RefusedError):
        return _about(answer, "echo", "logprobs")
    try:
        wire.prompt_logprobs(wire.first_choice(answer, server.names), len(prompt))
    except CallError:
        return False
    return True


def pair_route(model: str) -> Exchange[tuple[PairRoute, list[float]]]:
    """Find how the server scores pairs of a query and a passage.

    Returns:
        The route, and its scores for `_PAIR`, if any: logits if the route can be asked for them.

    Raises:
        UnsupportedCallError: The server has none of the paths.
        RefusedError: It has one, and refuses to score.
    """
    refusals: dict[str, RefusedError] = {}
    for route, path in PAIR_PATHS.items():
        if path in refusals and refusals[path].status in _ABSENT:
            continue  # the same path in other words
        answer = yield from _tried(post(path, pair_body(route, model, *_PAIR)))
        if isinstance(answer, RefusedError):
            refusals[path] = answer
            continue
        if wire.has_pair_scores(answer, 2):  # or the path serves something else
            return route, [x for x in wire.pair_scores(answer, 2) if x is not None]
    for refusal in reversed(refusals.values()):
        if refusal.status not in _ABSENT:
            raise refusal
    words = " and ".join(dict.fromkeys(f"{x.status}: {x.detail}" for x in refusals.values()))
    raise UnsupportedCallError(
        "the server scores no pairs: it has no /score, /rerank or /v1/rerank"
        + (f" ({words})" if words else ""),
        hint="Serve a cross-encoder there, or use a strategy that asks for labels or text.",
    )


def _pair_unit(
    server: Server, route: PairRoute, scores: Sequence[float]
) -> Exchange[Literal["logit", "probability"]]:
    """Find the unit of a route's scores.

    A server may ignore the request for logits, and llama.cpp reports a logit for some models and
    a probability for others: then all scores of texts of many kinds lie between 0 and 1.
    """
    owner = server.served.owner if server.served else ""
    if PAIR_PATHS[route] == "rerank" and owner != "llamacpp":
        return "probability"
    if not scores or not _bounded(scores):
        return "logit"
    query, passages = _PAIR
    path = PAIR_PATHS[route]
    if owner != "llamacpp":
        body = pair_body(route, server.model, query, passages, raw=False)
        answer = yield from _tried(post(path, body))
        if isinstance(answer, RefusedError):
            return "logit"
        other = wire.pair_scores(answer, 2)
        if any(y is None or abs(x - y) > 0.01 for x, y in zip(scores, other, strict=True)):
            return "logit"
    answer = yield from _tried(post(path, pair_body(route, server.model, query, _PASSAGES)))
    if isinstance(answer, RefusedError):
        return "logit"
    many = wire.pair_scores(answer, len(_PASSAGES))
    return "probability" if _bounded([x for x in many if x is not None]) else "logit"


def _bounded(scores: Iterable[float]) -> bool:
    return all(0 <= x <= 1 for x in scores)


def continues(server: Server) -> Exchange[bool | None]:
    """Whether the server continues a given beginning of a chat answer; None if it does not say.

    If it does, the beginning costs its own one or two tokens; if not, also those that end one
    message and start the next.
    """
    hello = {"model": server.model, "max_tokens": 1, "temperature": 0, "messages": as_json(_HELLO)}
    plain = yield from _tried(post("chat/completions", hello))
    if isinstance(plain, RefusedError):
        about = named(plain.detail, {"max_tokens", "temperature"}) or plain.status in _ABSENT
        return False if about else None
    yield from _vouched(server, "chat/completions", hello, plain)
    given = yield from _tried(post("chat/completions", {**hello, **continued(_HELLO, "[")}))
    if isinstance(given, RefusedError):
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


def pair_body(
    route: PairRoute,
    model: str,
    query: str,
    passages: Sequence[str],
    options: Mapping[str, Any] | None = None,
    *,
    raw: bool = True,
) -> dict[str, Any]:
    """A request to score each passage for one query.

    Args:
        route: The route.
        model: The model's name.
        query: The query.
        passages: The passages.
        options: Arguments for truncation; those that the route does not have are left out.
        raw: Whether to ask for logits, if the route can be asked for them.
    """
    texts = list(passages)
    cut = {k: v for k, v in (options or {}).items() if k in _TRUNCATION[route] and v is not None}
    if route == "vllm":
        return {"model": model, "text_1": query, "text_2": texts, "use_activation": not raw} | cut
    if route == "tei":
        return {"query": query, "texts": texts, "raw_scores": raw} | cut
    body = {"model": model, "query": query, "documents": texts}
    own: Mapping[PairRoute, dict[str, Any]] = {
        "infinity": {"raw_scores": raw},
        "jina": {"top_n": len(texts)},
    }
    return body | own.get(route, {}) | cut


def _tried(exchange: Exchange[Any]) -> Exchange[Any]:
    """The answer, or the server's refusal of a path or of arguments that it does not have.

    The error of a server that is down or busy is raised, and a refusal for other reasons too.
    """
    try:
        return (yield from exchange)
    except RefusedError as error:
        if error.status not in _ABOUT_REQUEST:
            raise
        return error


def _about(refusal: RefusedError, *arguments: str) -> RefusedError:
    """A refusal that is about these arguments; another is raised, because it may pass."""
    if refusal.status not in _ABSENT and not named(refusal.detail, {*arguments}):
        raise refusal
    return refusal


def _listed_name(server: Server, names: Collection[str]) -> str | None:
    """The model's name among ``names``; None if it may be missing there."""
    short = server.model.rpartition("/")[2]
    same = [name for name in names if name.rpartition("/")[2] == short]
    if server.model in names or len(same) == 1:
        return server.model if server.model in names else same[0]
    if same:
        return None
    # A tag of the model ("llama:latest"), a route to it ("model:fastest"), or a pattern ("x/*").
    base = server.model.rpartition(":")[0]
    pattern = (n for n in names if n.endswith("*") and server.model.startswith(n[:-1]))
    tags = (n for n in names if wire.is_version(n, server.model))
    server.known_as = base if base in names else next(chain(tags, pattern), None)
    return None
