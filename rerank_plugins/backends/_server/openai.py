"""Any OpenAI-compatible server as a backend."""

import base64
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from ..._checks import at_least, fits, one_of, positive
from ..._copies import CopiedByArguments
from ..._drive import adrive, drive
from ..._threads import in_threads, off_loop, renewed_by_forks
from ...calls import Batch, Call, Generate, Likelihood, NextToken, Prompt, Replies, Reply, ScorePair
from ...errors import (
    CallError,
    ConfigurationError,
    InputError,
    RerankError,
    UnsupportedCallError,
)
from .._answers.failures import without_secrets
from .._base import SECRET, Answers, distinct
from .._local.loading import load_tokenizer
from .._prompts.messages import escape
from .._prompts.renderer import Renderer
from ..chat._conversation import Known
from ..chat._dialects import COMPLETIONS, Dialect
from . import by_ids, by_messages, by_pairs
from .capabilities import Server
from .exchange import Exchange, RefusedError, get
from .probing import Kinds, Probing
from .transport import Transport

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OPENAI = "https://api.openai.com/v1"
_SECRET_LENGTH = 8  # of a header that is masked in errors: a shorter one is a setting, not a key
_KEY_LENGTH = 4  # of a key that is masked: a shorter one would be found in many words
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN = frozenset({"model", "prompt", "messages", "stream", "n"})
_Unsettled: TypeAlias = Exchange[Answers | Reply[Any]]


@dataclass(eq=False, repr=False, kw_only=True)
class OpenAIBackend(CopiedByArguments):
    """Answers calls with a model on a server: vLLM, llama.cpp, SGLang, TEI, OpenAI, and others.

    With ``tokenizer``, prompts are rendered and tokenized here and sent as token ids: text from
    queries and passages can never become a control token, labels are found by id, and a server
    that reports exactly the requested tokens (vLLM, SGLang) answers `NextToken` as a model in this
    process does. Without it, prompts are sent as chat messages, and text from outside is escaped.
    Servers that report only the likeliest few tokens (20 at OpenAI) leave labels out: see the
    ``policy`` of `SingleToken`.

    The backend finds out what the server can do by a small request for each kind of call when it
    is first needed, or by `warm_up`. Requests are repeated if the server is down, busy or cuts its
    answer; a call that still fails is answered by a `CallError`. One instance may be shared by
    threads and event loops.

    Args:
        model: Its name on the server.
        base_url: The address of the API, ``http://localhost:8000/v1``; without a path, ``/v1`` is
            added. A query ``?api-version=...``, as Azure's, is sent with each request.
        api_key: The key, or a function that returns it. Never shown, and never written into a spec.
            A line break at its end is left out.
        api_key_env: The environment variable that holds the key. By default ``OPENAI_API_KEY`` for
            OpenAI's own server, and none for others.
        tokenizer: The model's tokenizer: a hub id, a folder, or a loaded one. Needed for
            `Likelihood` and for more than 26 identifiers.
        chat_template: A Jinja template instead of the tokenizer's own.
        template_options: Variables for the template, such as ``{"enable_thinking": False}``.
        context_tokens: Maximum of prompt and answer together in tokens; None: the server's limit.
        timeout_s: Seconds for one attempt, from looking up the name to the last byte.
        attempts: Maximum number of attempts for each request. They multiply with the attempts of
            `retried` and with the backends of a `Balanced` around this one.
        max_concurrency: Maximum number of concurrent requests: over all threads, and on each
            event loop.
        pair_unit: The unit of the server's scores for `ScorePair`. ``"auto"``: logits from vLLM's
            ``/score``, TEI's and Infinity's ``/rerank`` and llama.cpp, unless all scores of a few
            different texts lie between 0 and 1 whatever is requested; else probabilities, which
            are converted to logits.
        headers: Sent with each request. Never shown, and never written into a spec.
        extra_body: Further arguments of each completion; None removes an argument. Those for
            truncation (``truncate`` for TEI, ``truncate_prompt_tokens`` for vLLM, ``truncation``)
            are sent with pairs too, to servers that have them; without them, a passage that is too
            long is cut here.
        answered_by: The name under which the model answers if it differs from ``model``, as with
            a deployment or an alias; the server's list of models need not have it.

    Raises:
        InputError: An argument is out of range, or ``base_url`` holds a password.
        MissingExtraError, ConfigurationError: At the first request: no key, or one that cannot be
            sent, no such model, or another model answers.

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
    _probing: Probing = field(init=False)
    _chat: Known = field(init=False)
    _text: Known = field(init=False)
    _lock: Any = field(default_factory=lambda: renewed_by_forks(threading.RLock()), init=False)
    _transport: "Transport | None" = field(default=None, init=False)
    _renderer: "Renderer | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not self.model:
            raise InputError("model is empty", hint="Give its name on the server.")
        self.base_url = _checked_url(self.base_url)
        at_least(1, attempts=self.attempts, max_concurrency=self.max_concurrency)
        at_least(1, none=True, context_tokens=self.context_tokens)
        positive(timeout_s=self.timeout_s)
        one_of("pair_unit", self.pair_unit, by_pairs.UNITS)
        if clash := sorted(_OWN & set(self.extra_body)):
            raise InputError(f"extra_body cannot hold {clash}", hint="See the arguments.")
        self._server = Server(self.model, self.answered_by, self.context_tokens)
        self._probing = Probing(self._server, self._sample)
        self._chat, self._text = Known(Dialect()), Known(COMPLETIONS)

    def run(self, calls: Batch) -> Replies:
        """Answer every call, several at once in threads."""
        work = self._work(calls)
        with self._connected() as transport:
            send = transport.send
            try:
                self._probing.probe(_kinds(calls), send)
            except CallError as error:
                return [without_secrets(error, transport.secrets)] * len(calls)
            pieces = [partial(drive, piece.exchange, send) for piece in work]
            answers = in_threads(pieces, self.max_concurrency)
            return _in_order(calls, work, answers, transport.secrets)

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop. Cancelling it ends the requests that are under way."""
        import asyncio  # imported here: sync users need none

        work = await off_loop(lambda: self._work(calls))
        with self._connected() as transport:
            send = transport.asend
            try:
                await self._probing.aprobe(_kinds(calls), send)
            except CallError as error:
                return [without_secrets(error, transport.secrets)] * len(calls)
            tasks: list[asyncio.Task[Answers]] = []
            try:
                async with asyncio.TaskGroup() as group:  # an error in one cancels the others
                    tasks += [group.create_task(adrive(piece.exchange, send)) for piece in work]
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
            answers = [task.result() for task in tasks]
            return _in_order(calls, work, answers, transport.secrets)

    def warm_up(self) -> None:
        """Load the tokenizer, and find out what the server can do for labels. Safe to repeat.

        Raises:
            CallError: The server failed.
        """
        self._tokenizing()
        with self._connected() as transport:
            self._probing.probe([NextToken], transport.send)

    async def awarm_up(self) -> None:
        """`warm_up`, on an event loop."""
        await off_loop(self._tokenizing)
        with self._connected() as transport:
            await self._probing.aprobe([NextToken], transport.asend)

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
                raise ConfigurationError(
                    "the server tokenizes the prompts", hint="Give tokenizer=..."
                )
            return renderer.encode(prompt).ids

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.model!r}, base_url={self.base_url!r})"

    def _sample(self) -> list[int] | None:
        """A short prompt as token ids."""
        if self._renderer is None:
            return None
        with self._lock:
            ids = self._renderer.tokenizer("The cat sat on the mat.", add_special_tokens=False)
        return list(ids["input_ids"])

    def _work(self, calls: Batch) -> "list[_Piece]":
        """Divide calls into pieces; a prompt that cannot be sent is answered at once."""
        work: list[_Piece] = []
        pairs: dict[str, list[ScorePair]] = {}
        with self._lock:
            self._tokenizing()
            for call in distinct(calls):  # equal calls must get equal answers
                if isinstance(call, ScorePair):
                    pairs.setdefault(call.query, []).append(call)
                else:
                    work.append(_piece([call], partial(self._exchange, call)))
            most = by_pairs.TOGETHER
            for same_query in pairs.values():
                chunks = (same_query[i : i + most] for i in range(0, len(same_query), most))
                work += (_piece(chunk, partial(self._pairs, chunk)) for chunk in chunks)
        return work

    def _exchange(self, call: Call[Any]) -> Exchange[Reply[Any]]:
        server, renderer = self._server, self._renderer
        if isinstance(call, NextToken | Generate) and renderer is None:
            known = self._chat if call.prompt.chat else self._text
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
            encoded, new = renderer.split(call.prompt, call.continuation)
            return by_ids.likelihood(server, encoded, new)
        raise UnsupportedCallError(f"a server cannot answer {type(call).__name__}")

    def _pairs(self, calls: Sequence[ScorePair]) -> Exchange[Answers]:
        safe = self._renderer.escape if self._renderer else escape
        texts = [(safe(c.query), safe(c.passage)) for c in calls]
        return by_pairs.score(self._server, calls, texts, self.pair_unit, self.extra_body)

    def _tokenizing(self) -> "Renderer | None":
        """The renderer, made when it is first needed; None without a tokenizer."""
        with self._lock:
            if self._renderer is None and self.tokenizer is not None:
                given = self.tokenizer
                tokenizer = load_tokenizer(given) if isinstance(given, str) else given
                self._renderer = Renderer(
                    tokenizer, chat_template=self.chat_template, options=self.template_options
                )
            return self._renderer

    @contextmanager
    def _connected(self) -> Iterator[Transport]:
        """The transport. Errors inside show no key."""
        transport = self._ready()
        try:
            yield transport
        except RerankError as error:
            without_secrets(error, transport.secrets)
            raise

    def _ready(self) -> Transport:
        with self._lock:
            if self._transport is None:
                key = self._key()
                headers = dict(self.headers or {})
                for name, value in headers.items():
                    if not _HEADER_NAME.fullmatch(str(name)):
                        raise ConfigurationError("headers has a name that is not a header's name")
                    _sendable(f"the header {name}", value)
                secrets = _secrets_of(key, headers)
                if key is not None and "authorization" not in map(str.lower, headers):
                    headers["Authorization"] = f"Bearer {key}"
                self._transport = Transport(
                    base=self.base_url,
                    headers=headers,
                    timeout_s=self.timeout_s,
                    attempts=self.attempts,
                    max_concurrency=self.max_concurrency,
                    secrets=secrets,
                    extra_body=self.extra_body,
                )
            return self._transport

    def _key(self) -> str | None:
        given: Any = self.api_key() if callable(self.api_key) else self.api_key
        openai = urlsplit(self.base_url).hostname == urlsplit(_OPENAI).hostname
        name = self.api_key_env or ("OPENAI_API_KEY" if openai else None)
        if given is not None:
            # A file, as Docker's and Kubernetes' secrets, ends in a line break.
            own = given.rstrip("\r\n") if isinstance(given, str) else given
            return _sendable("api_key", own)
        if name is None:
            return None
        if not os.environ.get(name):
            raise ConfigurationError(
                f"the environment has no {name}", hint="Set it, or give api_key=..."
            )
        return _sendable(f"the environment's {name}", os.environ[name].rstrip("\r\n"))


def list_models(
    base_url: str, *, api_key: "str | Callable[[], str | None] | None" = None
) -> dict[str, tuple[str, ...]]:
    """Ask a server for its models, once and with little patience.

    Args:
        base_url: The address of the API, as of `OpenAIBackend`.
        api_key: The key, or a function that returns it.

    Returns:
        The endpoints of each model by its name, such as ``("rerank",)``; none where the server does
        not say, as most do not.

    Raises:
        InputError: It is not an address, or holds a password.
        MissingExtraError: ``httpx`` is not installed.
        ConfigurationError: Nothing answers, the server lists no models, or the key cannot be used.
    """
    asked = OpenAIBackend("any", base_url=base_url, api_key=api_key, timeout_s=10, attempts=1)
    with asked._connected() as transport:
        try:
            answer = drive(get("models"), transport.send)
        except RefusedError as error:
            raise ConfigurationError(
                f"{asked.base_url} does not list its models ({error.status}: {error.detail})",
                hint="Give the model's name, and base_url=... beside it.",
            ) from error
        except CallError as error:
            raise ConfigurationError(
                f"nothing that can be used answers at {asked.base_url}: {error}",
                hint="Start the server, or check the address.",
            ) from error
        finally:
            asked.close()
    names = [row.get("id") for row in _rows(answer, "data")]
    said: dict[str, Any] = {
        str(row.get("name")): row.get("endpoints") for row in _rows(answer, "models")
    }
    known = {name: tuple(found) for name, found in said.items() if fits(found, Sequence[str])}
    return {name: known.get(name, ()) for name in names if isinstance(name, str) and name}


def _rows(answer: Any, name: str) -> list[Mapping[str, Any]]:
    """The objects of a list in a server's answer; none where there is no such list."""
    rows = answer.get(name) if isinstance(answer, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


class _Piece(NamedTuple):
    """Calls that are asked together, and the exchange that answers them."""

    calls: Sequence[Call[Any]]
    exchange: Exchange[Answers]


def _piece(calls: Sequence[Call[Any]], prepare: Callable[[], _Unsettled]) -> _Piece:
    """A piece of work in which a `CallError` becomes the answer to each of its calls."""
    try:
        exchange = prepare()
    except CallError as error:
        exchange = _nothing([error] * len(calls))
    return _Piece(calls, _settled(exchange, len(calls)))


def _nothing(answers: Answers) -> Exchange[Answers]:
    """An exchange without requests."""
    return answers
    yield


def _settled(exchange: _Unsettled, n: int) -> Exchange[Answers]:
    try:
        found = yield from exchange
    except CallError as error:
        return [error] * n
    return [found] if isinstance(found, Reply) else found


def _kinds(calls: Batch) -> Kinds:
    return list(dict.fromkeys(map(type, calls)))


def _in_order(
    calls: Batch,
    work: Sequence[_Piece],
    found: Sequence[Answers | CallError],
    secrets: Sequence[str],
) -> Replies:
    answers: dict[Call[Any], Reply[Any] | CallError] = {}
    for piece, replies in zip(work, found, strict=True):
        each = [replies] * len(piece.calls) if isinstance(replies, CallError) else replies
        answers.update(zip(piece.calls, each, strict=True))
    for answer in answers.values():
        if isinstance(answer, CallError):
            without_secrets(answer, secrets)
    return [answers[call] for call in calls]


def _sendable(name: str, value: object) -> str:
    """Refuse a key or a header that cannot be sent; the message does not have its value.

    Raises:
        ConfigurationError: It is not a text, is empty, or has other characters than visible ASCII
            and spaces within.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is a {type(value).__name__}, expected a text")
    if not value:
        raise ConfigurationError(f"{name} is empty")
    if value != value.strip() or not (value.isascii() and value.isprintable()):
        raise ConfigurationError(
            f"{name} has a line break, white space around it, or a character outside ASCII",
            hint="Check where it is read from.",
        )
    return value


def _secrets_of(key: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """The texts to mask: the key, long headers, and what they consist of."""
    found = {key} if key and len(key) >= _KEY_LENGTH else set[str]()
    for value in headers.values():
        scheme, _, rest = value.rpartition(" ")
        parts = {rest if scheme else value}
        if scheme.lower() == "basic":
            try:
                plain = base64.b64decode(rest).decode("utf-8")
            except ValueError:
                plain = ""
            parts |= {plain, plain.partition(":")[2]}
        found |= {part for part in parts if len(part) >= _SECRET_LENGTH}
    return tuple(sorted(found))


_QUERY = re.compile(r"(api-version=[\w.-]*)?")
"""The query of an address that may be given: Azure's version."""


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except (ValueError, AttributeError) as error:
        raise InputError(f"base_url is not a valid address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "base_url is not an http or https address",
            hint="Give one such as http://localhost:8000/v1.",
        )
    query = parts.query
    if parts.username or parts.password or not _QUERY.fullmatch(query):
        raise InputError(
            "base_url holds a password, or a query other than api-version=...",
            hint="Give api_key or headers.",
        )
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{query}" if query else "")
