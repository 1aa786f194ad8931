"""Any OpenAI-compatible server as a backend."""

import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from ..._threads import in_threads, off_loop
from ...calls import Batch, Call, Generate, Likelihood, NextToken, Prompt, Replies, Reply, ScorePair
from ...errors import CallError, ConfigurationError, InputError, UnsupportedCallError
from .._base import SECRET, Answers
from .._local.loading import load_tokenizer
from .._prompts.messages import escape
from .._prompts.renderer import Renderer
from ..chat._conversation import Known
from ..chat._dialects import COMPLETIONS, Dialect
from . import by_ids, by_messages, by_pairs
from .capabilities import Server
from .exchange import Exchange, Request, aconverse, converse
from .probing import Learning
from .transport import Transport

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OPENAI = "https://api.openai.com/v1"
_POSITIVE = ("context_tokens", "timeout_s", "attempts", "max_concurrency")
_SECRET_LENGTH = 8  # of what is masked in errors: a shorter text is a setting and no key
_OWN = frozenset({"model", "prompt", "messages", "stream", "n"})


@dataclass(eq=False, repr=False, kw_only=True)
class OpenAIBackend:
    """Answers calls with a model on a server: vLLM, llama.cpp, SGLang, TEI, OpenAI, and others.

    With ``tokenizer``, prompts are rendered and tokenized here and sent as token ids: text from
    queries and passages can never become a control token, labels are found by id, and a server
    that reports exactly the tokens it is asked for (vLLM, SGLang) answers `NextToken` as a model
    in this process does. Without it, prompts go as chat messages, and text from outside is made
    harmless by its spelling. Servers that report only the likeliest few tokens (20 at OpenAI) leave
    labels out: see the ``policy`` of `SingleToken`.

    What a server can do is learnt by asking it, once for each kind of call, when it is first
    needed; `warm_up` asks at once. Requests are sent again where the server is down, busy or cuts
    its answer. What still fails is a `CallError` in its place. One instance may be shared by
    threads and event loops.

    Args:
        model: Its name on the server.
        base_url: Where the API is, ``http://localhost:8000/v1``; ``/v1`` is added where there is
            no path.
        api_key: The key, or a function that gives it. Never shown, and never written into a spec.
        api_key_env: The environment variable that holds the key. ``OPENAI_API_KEY`` for OpenAI's
            own server; for others there is none unless you say so.
        tokenizer: The model's: a hub id, a folder, or a loaded one. Needed for `Likelihood` and
            for more than 26 identifiers.
        chat_template: A Jinja template instead of the tokenizer's own.
        template_options: Variables for the template, such as ``{"enable_thinking": False}``.
        context_tokens: Prompt and answer together at most; what the server says when None.
        timeout_s: Seconds for one attempt, from connecting to the last byte.
        attempts: How often a request is sent at most.
        max_concurrency: Requests under way at once: over all threads, and on each event loop.
        pair_unit: What the scores of `ScorePair` are there. ``"auto"``: logits from vLLM's
            ``/score``, TEI's ``/rerank`` and llama.cpp, probabilities elsewhere, which are turned
            into logits.
        headers: Sent with each request. Never shown, and never written into a spec.
        extra_body: Further arguments of each request that writes; None takes one away.
        answered_by: The name by which the model answers where that is another one, as behind
            a deployment or an alias, which the server need not list then.

    Raises:
        InputError: An argument is out of range, or ``base_url`` holds a password.
        MissingExtraError, ConfigurationError: When the server is first asked: no key, no such
            model, another model that answers.

    Examples:
        >>> OpenAIBackend("castorini/first_mistral", base_url="http://localhost:8000")
        OpenAIBackend('castorini/first_mistral', base_url='http://localhost:8000/v1')
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset(
        {NextToken, Generate, Likelihood, ScorePair}
    )

    model: str = field(kw_only=False)
    base_url: str = _OPENAI
    api_key: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)
    api_key_env: str | None = None
    tokenizer: "str | PreTrainedTokenizerBase | None" = None
    chat_template: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    context_tokens: int | None = None
    timeout_s: float = 60.0
    attempts: int = 4
    max_concurrency: int = 16
    pair_unit: by_pairs.PairUnit = "auto"
    headers: Mapping[str, str] | None = field(default=None, metadata=SECRET)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    answered_by: str | None = None
    _server: Server = field(init=False)
    _learning: Learning = field(init=False)
    _known: "_Dialects" = field(init=False)
    _lock: Any = field(default_factory=threading.RLock, init=False)
    _transport: "Transport | None" = field(default=None, init=False)
    _renderer: "Renderer | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not self.model:
            raise InputError("model is empty", hint="Give its name on the server.")
        self.base_url = _checked_url(self.base_url)
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}, expected a positive number")
        if self.pair_unit not in by_pairs.UNITS:
            raise InputError(f"pair_unit is {self.pair_unit!r}", hint=f"One of {by_pairs.UNITS}.")
        if clash := sorted(_OWN & set(self.extra_body)):
            raise InputError(f"extra_body cannot hold {clash}", hint="See the arguments.")
        self._server = Server(self.model, self.answered_by, self.context_tokens)
        self._learning = Learning(self._server, self._probe)
        self._known = _Dialects(Known(Dialect()), Known(COMPLETIONS))

    def run(self, calls: Batch) -> Replies:
        """Answer every call, several at once in threads."""
        distinct = list(dict.fromkeys(calls))  # equal calls must get equal answers
        work = self._work(distinct)
        send = self._ready().send
        try:
            self._learning.learn(_kinds(distinct), send)
        except CallError as error:
            return [error] * len(calls)
        pieces = [partial(_answers, piece, send) for piece in work]
        found = in_threads(pieces, self.max_concurrency)
        return _in_order(calls, work, found)

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop. Cancelling it ends the requests that are under way."""
        import asyncio  # imported here: sync users need none

        distinct = list(dict.fromkeys(calls))
        work = await off_loop(lambda: self._work(distinct))
        send = self._ready().asend
        try:
            await self._learning.alearn(_kinds(distinct), send)
        except CallError as error:
            return [error] * len(calls)
        tasks: list[asyncio.Task[Answers]] = []
        try:
            async with asyncio.TaskGroup() as group:  # an error in one ends the others' requests
                tasks += [group.create_task(_aanswers(piece, send)) for piece in work]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return _in_order(calls, work, [task.result() for task in tasks])

    def warm_up(self) -> None:
        """Load the tokenizer, and learn what the server can do about labels. Safe to repeat.

        Raises:
            CallError: The server failed.
        """
        self._load_tokenizer()
        self._learning.learn([NextToken], self._ready().send)

    async def awarm_up(self) -> None:
        """`warm_up`, on an event loop."""
        await off_loop(self._load_tokenizer)
        await self._learning.alearn([NextToken], self._ready().asend)

    def close(self) -> None:
        """Close the connections of synchronous requests. Safe to repeat."""
        if self._transport is not None:
            self._transport.close()

    async def aclose(self) -> None:
        """Close this event loop's connections too. Safe to repeat."""
        if self._transport is not None:
            await self._transport.aclose()

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The token ids that the server gets for a prompt.

        Raises:
            ConfigurationError: There is no tokenizer here.
        """
        with self._lock:
            if (renderer := self._tokenizing()) is None:
                raise ConfigurationError("the tokens are the server's", hint="Give tokenizer=...")
            return renderer.encode(prompt).ids

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.model!r}, base_url={self.base_url!r})"

    def _load_tokenizer(self) -> None:
        with self._lock:
            self._tokenizing()

    def _probe(self) -> list[int] | None:
        """A short prompt as token ids."""
        if self._renderer is None:
            return None
        with self._lock:
            ids = self._renderer.tokenizer("The cat sat on the mat.", add_special_tokens=False)
        return list(ids["input_ids"])

    def _work(self, calls: Sequence[Call[Any]]) -> "list[_Piece]":
        """What is to be asked of the server, each piece with the places of its calls."""
        work: list[_Piece] = []
        pairs: dict[str, list[ScorePair]] = {}
        with self._lock:
            self._tokenizing()
            for call in calls:
                if isinstance(call, ScorePair):
                    pairs.setdefault(call.query, []).append(call)
                else:
                    work.append(_Piece([call], self._one(call)))
            for same_query in pairs.values():
                work += map(self._pairs, _chunks(same_query, by_pairs.TOGETHER))
        return work

    def _one(self, call: Call[Any]) -> Exchange[Answers]:
        try:
            return _listed(self._exchange(call))
        except CallError as error:
            return _nothing([error])

    def _exchange(self, call: Call[Any]) -> Exchange[Reply[Any]]:
        server, renderer = self._server, self._renderer
        if isinstance(call, NextToken | Generate) and renderer is None:
            known = self._known.chat if call.prompt.chat else self._known.text
            return by_messages.ask(server, call, known)
        if renderer is None and isinstance(call, Likelihood):
            raise UnsupportedCallError(
                "likelihoods need the model's tokenizer on this side", hint="Give tokenizer=..."
            )
        if isinstance(call, NextToken) and renderer is not None:
            encoded = renderer.encode(call.prompt)
            ids = renderer.labels(call.prompt, call.labels, encoded.text)
            return by_ids.next_token(server, call, encoded, ids)
        if isinstance(call, Generate) and renderer is not None:
            return by_ids.generate(server, call, renderer.encode(call.prompt))
        if isinstance(call, Likelihood) and renderer is not None:
            return by_ids.likelihood(server, *renderer.split(call.prompt, call.continuation))
        raise UnsupportedCallError(f"a server cannot answer {type(call).__name__}")

    def _pairs(self, calls: Sequence[ScorePair]) -> "_Piece":
        safe = self._renderer.escape if self._renderer else escape
        try:
            texts = [(safe(c.query), safe(c.passage)) for c in calls]
        except CallError as error:
            return _Piece(calls, _nothing([error] * len(calls)))
        return _Piece(calls, by_pairs.score(self._server, calls, texts, self.pair_unit))

    def _tokenizing(self) -> "Renderer | None":
        """The renderer, made when it is first needed; called with the lock held."""
        if self._renderer is None and self.tokenizer is not None:
            given = self.tokenizer
            tokenizer = load_tokenizer(given) if isinstance(given, str) else given
            self._renderer = Renderer(
                tokenizer, chat_template=self.chat_template, options=self.template_options
            )
        return self._renderer

    def _ready(self) -> Transport:
        with self._lock:
            if self._transport is None:
                key = self._key()
                headers = dict(self.headers or {})
                if key is not None:
                    headers.setdefault("Authorization", f"Bearer {key}")
                self._transport = Transport(
                    base=self.base_url,
                    headers=headers,
                    timeout_s=self.timeout_s,
                    attempts=self.attempts,
                    max_concurrency=self.max_concurrency,
                    secrets=tuple(
                        x for x in (key, *headers.values()) if x and len(x) >= _SECRET_LENGTH
                    ),
                    extra_body=self.extra_body,
                )
            return self._transport

    def _key(self) -> str | None:
        given = self.api_key() if callable(self.api_key) else self.api_key
        own = urlsplit(self.base_url).hostname == urlsplit(_OPENAI).hostname
        name = self.api_key_env or ("OPENAI_API_KEY" if own else None)
        if given is not None or name is None:
            return given
        if not os.environ.get(name):
            raise ConfigurationError(
                f"the environment has no {name}", hint="Set it, or give api_key=..."
            )
        return os.environ[name]


def _kinds(calls: Sequence[Call[Any]]) -> Sequence[type[Call[Any]]]:
    return list(dict.fromkeys(type(call) for call in calls))


class _Dialects(NamedTuple):
    """What is known about the server's two ways of writing."""

    chat: Known
    text: Known


class _Piece(NamedTuple):
    """Calls that are asked together, and the exchange that answers them."""

    calls: Sequence[Call[Any]]
    exchange: Exchange[Answers]


def _answers(piece: _Piece, send: Callable[[Request], Any]) -> Answers:
    try:
        return converse(piece.exchange, send)
    except CallError as error:
        return [error] * len(piece.calls)


async def _aanswers(piece: _Piece, send: Callable[[Request], Awaitable[Any]]) -> Answers:
    try:
        return await aconverse(piece.exchange, send)
    except CallError as error:
        return [error] * len(piece.calls)


def _in_order(
    calls: Batch, work: Sequence[_Piece], found: Sequence[Answers | CallError]
) -> Replies:
    answers: dict[Call[Any], Reply[Any] | CallError] = {}
    for piece, replies in zip(work, found, strict=True):
        several = [replies] * len(piece.calls) if isinstance(replies, CallError) else replies
        answers.update(zip(piece.calls, several, strict=True))
    return [answers[call] for call in calls]


def _listed(exchange: Exchange[Reply[Any]]) -> Exchange[Answers]:
    return [(yield from exchange)]


def _nothing(answers: Answers) -> Exchange[Answers]:
    """An exchange that asks nothing."""
    return answers
    yield


def _chunks(pairs: Sequence[ScorePair], size: int) -> Iterable[Sequence[ScorePair]]:
    return (pairs[i : i + size] for i in range(0, len(pairs), size))


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except (ValueError, AttributeError) as error:
        raise InputError(f"base_url is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "base_url is no address", hint="Give http://localhost:8000/v1 or the like."
        )
    if parts.username or parts.password or parts.query:
        raise InputError("base_url holds a password or a query", hint="Give api_key or headers.")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"
