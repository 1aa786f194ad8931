"""Pairs of a query and a passage, scored by a server. No I/O: exchanges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from ...calls import Reply, ScorePair, with_cost
from ...errors import (
    BackendError,
    CallError,
    ModelOutputError,
    PromptTooLongError,
    UnsupportedCallError,
)
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
    server: Server,
    calls: Sequence[ScorePair],
    texts: Sequence[tuple[str, str]],
    unit: PairUnit,
    options: Mapping[str, Any],
    cuts: int = 4,
) -> Exchange[Answers]:
    """Score passages of one query together; if that fails, in halves, down to the one that fails.

    A passage that is too long for the server is cut.

    Args:
        server: The server.
        calls: The pairs, all with the same query.
        texts: Query and passage of each, escaped.
        unit: The unit of the server's scores.
        options: Arguments for truncation.
        cuts: Maximum number of times that a passage is cut, each time to less.
    """
    route = server.pairs
    if route is None:
        raise UnsupportedCallError("the server was not asked where it scores pairs")
    query, passages = texts[0][0], [passage for _, passage in texts]
    path = capabilities.PAIR_PATHS[route]
    cost, n = 0, len(calls)
    try:
        body = capabilities.pair_body(route, server.model, query, passages, options)
        answer = yield from post(path, body)
        cost = wire.usage(answer)[0]
        found = wire.pair_scores(answer, n)
    except CallError as error:
        shares = [cost // n + (i < cost % n) for i in range(n)]
        errors = [with_cost(error, share, 0) for share in shares]
        if n == 1 and isinstance(error, PromptTooLongError) and cuts:
            return (yield from _cut(server, calls, texts, unit, options, cuts, error))
        if n == 1 or cost or (error.retryable and not (yield from _answers(server, route))):
            return errors
        first = yield from score(server, calls[: n // 2], texts[: n // 2], unit, options)
        second = yield from score(server, calls[n // 2 :], texts[n // 2 :], unit, options)
        return [*first, *second]
    shares = [cost // n + (i < cost % n) for i in range(n)]
    unit = server.pair_unit if unit == "auto" else unit
    return [_reply(value, unit, share) for value, share in zip(found, shares, strict=True)]


def _answers(server: Server, route: capabilities.PairRoute) -> Exchange[bool]:
    """Whether the server is up: then it is one of the pairs that it fails at."""
    body = capabilities.pair_body(route, server.model, "a", ["b"])
    try:
        yield from post(capabilities.PAIR_PATHS[route], body)
    except CallError as error:
        return not error.retryable
    return True


def _cut(
    server: Server,
    calls: Sequence[ScorePair],
    texts: Sequence[tuple[str, str]],
    unit: PairUnit,
    options: Mapping[str, Any],
    cuts: int,
    error: PromptTooLongError,
) -> Exchange[Answers]:
    """Score one pair whose passage is cut to what should fit."""
    (query, passage), limit = texts[0], error.limit or error.excess_tokens
    fits = limit / (limit + error.excess_tokens) * (0.5 + 0.1 * cuts)
    if not (cut := passage[: int(fits * len(passage))]):
        return [error]
    replies = yield from score(server, calls, [(query, cut)], unit, options, cuts - 1)
    return [replace(r, truncated=(0,)) if isinstance(r, Reply) else r for r in replies]


def _reply(value: float | None, unit: PairUnit, tokens: int) -> Reply[float] | CallError:
    if value is None:
        return BackendError(
            "the server left out the score of a passage", retryable=True, prompt_tokens=tokens
        )
    if not math.isfinite(value):
        return ModelOutputError(f"the server's score is {value}", prompt_tokens=tokens)
    if unit == "logit":
        return Reply(value, tokens)
    if not 0 <= value <= 1:
        return ModelOutputError(
            f"the server's score {value:g} is not a probability",
            hint="Give pair_unit='logit'.",
            prompt_tokens=tokens,
        )
    p = min(max(value, _NEAREST), 1 - _NEAREST)
    return Reply(math.log(p) - math.log1p(-p), tokens)
