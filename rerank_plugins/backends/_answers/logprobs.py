"""Read labels from the log-probabilities that servers report.

Pure functions: a server's report goes in, `LabelLogprobs` comes out.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...calls import LabelLogprobs
from ...errors import LogprobsError, ModelOutputError
from .numbers import to_float

NOTHING = -9999.0
"""OpenAI's servers report it for "next to impossible": neither a value nor a bound."""

MOST_IDS = 128
"""Largest number of token ids in one request for log-probabilities: vLLM's limit."""

DEEPEST = 8
"""Levels of lists inside one another that are read; reports in use have at most three."""

_LEAST_LEFT = 2.0**-24  # of the probability: what float32 resolves near 1
_MARKS = " \t\n▁Ġ"  # white space, and how SentencePiece and byte-level BPE write a space


@dataclass(frozen=True, slots=True)
class Position:
    """One generated token, and the likeliest tokens at its place.

    Args:
        token: The generated token.
        top: The alternatives that the server reports, each with its log-probability (nats).
    """

    token: str
    top: tuple[tuple[str, float], ...]


def read_positions(report: object) -> tuple[Position, ...]:
    """Read a server's report about its tokens, in any of the shapes in use.

    OpenAI's chat shape (``content``, a list of tokens with ``top_logprobs``), as an object, as
    dictionaries, in pieces as a stream sends it, or bare; its older one (``tokens`` beside
    ``top_logprobs``); and lists of alternatives for each position. Anything else reads as no
    positions.

    Examples:
        >>> report = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": []}]}
        >>> read_positions(report)
        (Position(token='A', top=(('A', -0.1),)),)
        >>> read_positions([[{"token": "B", "logprob": -0.7}, {"token": "A", "logprob": -0.8}]])
        (Position(token='B', top=(('B', -0.7), ('A', -0.8))),)
        >>> read_positions("none"), read_positions(None)
        ((), ())
    """
    return tuple(_positions(_plain(report)))


def _positions(report: object, depth: int = 0) -> Iterator[Position]:
    match report:
        case {"content": list() as content}:
            yield from _positions(content, depth)
        case {"tokens": list() as tokens, "top_logprobs": list() as tops}:
            for token, top in zip(tokens, map(_plain, tops), strict=False):
                if isinstance(token, str) and isinstance(top, Mapping):
                    yield Position(token, tuple(top.items()))
        case {"token": str() as token, "logprob": value, **more}:
            yield Position(token, tuple(_pairs(more.get("top_logprobs"))) or ((token, value),))
        case list() | tuple() if depth < DEEPEST:
            for item in map(_plain, report):
                yield from _alternatives(item) or _positions(item, depth + 1)


def _alternatives(item: object) -> list[Position]:
    """Read a list of tokens that are alternatives to one another as one position.

    Such a list is inside another, and its tokens have no ``top_logprobs``.
    """
    tokens = [_plain(token) for token in item] if isinstance(item, list | tuple) else []
    top = tuple(_pairs(tokens))
    own = any(isinstance(token, Mapping) and "top_logprobs" in token for token in tokens)
    return [] if own or not top else [Position(max(top, key=_likelihood)[0], top)]


def _pairs(tops: object) -> Iterator[tuple[str, Any]]:
    for top in map(_plain, tops) if isinstance(tops, list | tuple) else ():
        if isinstance(top, Mapping) and isinstance(top.get("token"), str) and "logprob" in top:
            yield top["token"], top["logprob"]


def _likelihood(pair: tuple[str, object]) -> float:
    value = to_float(pair[1])
    return -math.inf if value is None else value


def _plain(value: object) -> object:
    """The dictionary of a client's object; anything else unchanged."""
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) else value


def read_labels(
    positions: Sequence[Position], labels: Sequence[str], before: str = ""
) -> LabelLogprobs:
    """Read the log-probabilities of ``labels`` at the position of the answer's first label.

    Several tokens may stand for a label (``A`` and `` A``): the likeliest counts. With the maximum
    instead of the sum, a reported label is always likelier than one that is not reported.

    Args:
        positions: The first tokens of the answer.
        labels: The possible labels.
        before: Text of the answer before its first label, if the model wrote it itself because
            the server does not continue a given answer.

    Raises:
        LogprobsError: No alternatives were reported, or the answer begins with something else.
        ModelOutputError: A log-probability is not a number.

    Examples:
        >>> written = Position("[", (("[", -0.1), ("The", -2.0)))
        >>> first = Position("B", (("B", -0.2), (" B", -3.0), ("A", -4.0)))
        >>> read_labels([written, first], ["A", "B", "C"], before="[")
        LabelLogprobs(seen={'A': -4.0, 'B': -0.2}, floor=-4.0, normaliser=None)
        >>> read_labels([Position("B", (("B", -0.01),))], ["A", "B"])
        LabelLogprobs(seen={'B': -0.01}, floor=-4.610...)
    """
    names = {label.strip(_MARKS): label for label in labels}
    position, left = _first_label(positions, names, before.strip(_MARKS))
    values = [(token, _number(value)) for token, value in position.top if value != NOTHING]
    if not values:
        raise LogprobsError("the server reported no alternatives to the token it chose")
    seen: dict[str, float] = {}
    for token, value in values:
        label = names.get(token.strip(_MARKS).removeprefix(left).strip(_MARKS))
        if label is not None:
            seen[label] = max(value, seen.get(label, -math.inf))
    # In the caller's order: servers sort by value, and ties must not depend on their order.
    ordered = {label: seen[label] for label in labels if label in seen}
    return LabelLogprobs(ordered, floor=_floor([value for _, value in values]))


def asked_together(ids: Sequence[int]) -> list[Sequence[int]]:
    """Split token ids into groups that fit one request each."""
    return [ids[i : i + MOST_IDS] for i in range(0, len(ids), MOST_IDS)]


def read_label_ids(
    values: Mapping[int, object], ids: Mapping[str, int], *, exact: bool
) -> LabelLogprobs:
    """Read the log-probabilities of labels from a report by token ids.

    Args:
        values: The report at one position: log-probabilities by token id.
        ids: The token id of each label.
        exact: True if exactly these tokens were requested, False for the likeliest few.

    Raises:
        LogprobsError: A requested token is missing, or nothing is reported.
        ModelOutputError: A log-probability is not a number.

    Examples:
        >>> read_label_ids({7: -0.5, 3: -2.0, 9: -4.0}, {"A": 3, "B": 4}, exact=False)
        LabelLogprobs(seen={'A': -2.0}, floor=-4.0, normaliser=None)
    """
    numbers = {i: _number(value) for i, value in values.items() if value != NOTHING}
    seen = {label: numbers[i] for label, i in ids.items() if i in numbers}
    if not numbers or (exact and len(seen) < len(ids)):
        raise LogprobsError("the server did not report the requested log-probabilities")
    return LabelLogprobs(seen) if exact else LabelLogprobs(seen, floor=_floor(numbers.values()))


def _first_label(
    positions: Sequence[Position], names: dict[str, str], before: str
) -> tuple[Position, str]:
    """Find the position of the first label, and the part of ``before`` in the same token."""
    left, written = before, ""
    # White space may be a separate token: the first label follows it.
    for position in [p for p in positions if p.token.strip(_MARKS)] or positions:
        token = position.token.strip(_MARKS)
        names_one = token.removeprefix(left).strip(_MARKS) in names
        # If nothing of ``before`` was written, the answer may begin with the label itself.
        if not left or (names_one and (not written or token.startswith(left))):
            return position, left
        if token and not left.startswith(token):
            written += position.token
            break
        left = left.removeprefix(token).lstrip(_MARKS)
        written += position.token
    wanted = f" and not with {before!r}" if before else ""
    raise LogprobsError(
        f"the model's answer begins with {written[:40]!r}{wanted}, so there is no first label"
        if written
        else "the server reported no log-probabilities",
        hint="Allow generation with SingleToken(policy='generate'), or use Permutation.",
    )


def _floor(values: Collection[float]) -> float:
    """Largest log-probability of a token that is not among the reported ``values``.

    It is at most the lowest of them, and has at most the probability that they leave. Values whose
    probabilities clearly add up to more than 1 say nothing about what is left.
    """
    left = 1.0 - math.fsum(map(math.exp, values))
    lowest = min(values)
    return lowest if left < -0.01 else min(lowest, math.log(max(left, _LEAST_LEFT)))


def _number(value: object) -> float:
    found = to_float(value)
    if found is None:
        shown = f"{value!r:.20}" if isinstance(value, float) else type(value).__name__
        raise ModelOutputError(
            f"the server reported a log-probability that is not a number: {shown}"
        )
    return min(found, 0.0)  # above zero only by rounding
