"""Pairs of a query and a passage, scored by a server. No I/O: exchanges."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from ...calls import Reply, ScorePair
from ...errors import BackendError, CallError, ModelOutputError, UnsupportedCallError
from .._base import Answers
from . import capabilities, wire
from .capabilities import Server
from .exchange import Exchange, post

PairUnit = Literal["auto", "logit", "probability"]
"""The unit of a server's scores of pairs."""

UNITS = get_args(PairUnit)
TOGETHER = 32
"""Maximum number of passages in one request: TEI's default limit."""

_NEAREST = 1e-7  # to 0 and 1, as far as float32 resolves them


def score(
    server: Server, calls: Sequence[ScorePair], texts: Sequence[tuple[str, str]], unit: PairUnit
) -> Exchange[Answers]:
    """Score passages of one query together; if that is refused, each by itself.

    Args:
        server: The server.
        calls: The pairs, all with the same query.
        texts: Query and passage of each, escaped.
        unit: The unit of the server's scores.
    """
    route = server.pairs
    if route is None:
        raise UnsupportedCallError(
            "the server scores no pairs: it has no /score, /rerank or /v1/rerank",
            hint="Serve a cross-encoder there, or use a strategy that asks for labels or text.",
        )
    query, passages = texts[0][0], [passage for _, passage in texts]
    body = capabilities.pair_body(route, server.model, query, passages)
    try:
        answer = yield from post(route, body)
    except CallError as error:
        if len(calls) == 1 or error.retryable:
            return [error] * len(calls)
        replies: list[Reply[float] | CallError] = []
        for call, text in zip(calls, texts, strict=True):
            replies += yield from score(server, [call], [text], unit)
        return replies
    found = wire.pair_scores(answer, len(calls))
    if unit == "auto":
        llama_cpp = route == "rerank" and server.served and server.served.owner == "llamacpp"
        unit = "logit" if llama_cpp or route != "rerank" else "probability"
    read = wire.usage(answer)[0]
    shares = [read // len(calls) + (i < read % len(calls)) for i in range(len(calls))]
    return [_reply(value, unit, share) for value, share in zip(found, shares, strict=True)]


def _reply(value: float | None, unit: PairUnit, tokens: int) -> Reply[float] | CallError:
    if value is None:
        return BackendError("the server left out the score of a passage", retryable=True)
    if not math.isfinite(value):
        return ModelOutputError(f"the server's score is {value}")
    if unit == "logit":
        return Reply(value, tokens)
    if not 0 <= value <= 1:
        return ModelOutputError(
            f"the server's score {value:g} is not a probability", hint="Give pair_unit='logit'."
        )
    p = min(max(value, _NEAREST), 1 - _NEAREST)
    return Reply(math.log(p) - math.log1p(-p), tokens)
