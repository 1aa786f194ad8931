"""Labels in what servers report: the likeliest few tokens of a position, as text.

Pure functions: what a server sent goes in, `LabelLogprobs` comes out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...calls import LabelLogprobs
from ...errors import LogprobsError, ModelOutputError

NOTHING = -9999.0
"""What OpenAI's servers report for "next to impossible": no value, and no bound either."""

MOST_IDS = 128
"""Token ids whose log-probabilities one request may ask for: vLLM's limit."""

_MARKS = " \t\n▁Ġ"  # white space, and how SentencePiece and byte-level BPE write a space


@dataclass(frozen=True, slots=True)
class Position:
    """One token that was written, and the likeliest tokens there.

    Args:
        token: The token that was written.
        top: The alternatives that the server reports, each with its log-probability (nats).
    """

    token: str
    top: tuple[tuple[str, float], ...]


def read_positions(report: object) -> tuple[Position, ...]:
    """What a server reports about its tokens, in any of the shapes that are in use.

    OpenAI's chat shape (``content``, a list of tokens with ``top_logprobs``), as an object, as
    dictionaries, in pieces as a stream sends it, or bare; its older one (``tokens`` beside
    ``top_logprobs``); and lists of alternatives for each position. What has none of these shapes
    reports nothing.

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


def _positions(report: object) -> Iterator[Position]:
    match report:
        case {"content": list() as content}:
            yield from _positions(content)
        case {"tokens": list() as tokens, "top_logprobs": list() as tops}:
            for token, top in zip(tokens, map(_plain, tops), strict=False):
                if isinstance(token, str) and isinstance(top, Mapping):
                    yield Position(token, tuple(top.items()))
        case {"token": str() as token, "logprob": value, **more}:
            yield Position(token, tuple(_pairs(more.get("top_logprobs"))) or ((token, value),))
        case list() | tuple():
            for item in map(_plain, report):
                yield from _alternatives(item) or _positions(item)


def _alternatives(item: object) -> list[Position]:
    """One position, where a list holds tokens that are alternatives to one another.

    It is inside another list, and its tokens have no alternatives of their own.
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
    value = pair[1]
    known = isinstance(value, int | float) and not math.isnan(value)
    return float(value) if known else -math.inf  # type: ignore[arg-type]


def _plain(value: object) -> object:
    """What a client's object holds; anything else as it is."""
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) else value


def read_labels(
    positions: Sequence[Position], labels: Sequence[str], before: str = ""
) -> LabelLogprobs:
    """The log-probabilities of ``labels`` where the answer's first label stands.

    Several tokens may spell a label (``A`` and `` A``): the likeliest counts. With the maximum,
    and not the sum, a label that is reported is certainly likelier than one that is not.

    Args:
        positions: The first tokens of the answer.
        labels: What may stand there.
        before: What the answer begins with before its first label, where the model wrote it
            itself because the server continues no answers.

    Raises:
        LogprobsError: No alternatives were reported, or the answer begins with something else.
        ModelOutputError: A log-probability is not a number.

    Examples:
        >>> written = Position("[", (("[", -0.1), ("The", -2.0)))
        >>> first = Position("B", (("B", -0.2), (" B", -3.0), ("A", -4.0)))
        >>> read_labels([written, first], ["A", "B", "C"], before="[")
        LabelLogprobs(seen={'A': -4.0, 'B': -0.2}, floor=-4.0)
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
    # In the caller's order: servers sort by value, and a tie must not depend on theirs.
    ordered = {label: seen[label] for label in labels if label in seen}
    return LabelLogprobs(ordered, floor=min(value for _, value in values))


def asked_together(ids: Sequence[int]) -> list[Sequence[int]]:
    """Token ids in groups that one request may ask for."""
    return [ids[i : i + MOST_IDS] for i in range(0, len(ids), MOST_IDS)]


def read_label_ids(
    values: Mapping[int, object], ids: Mapping[str, int], *, exact: bool
) -> LabelLogprobs:
    """The log-probabilities of labels, where a server reports token ids.

    Args:
        values: What it reports at the position: log-probabilities by token id.
        ids: The token id of each label.
        exact: Whether these very tokens were asked for, and not the likeliest few.

    Raises:
        LogprobsError: A token is missing that was asked for, or nothing is reported.
        ModelOutputError: A log-probability is not a number.

    Examples:
        >>> read_label_ids({7: -0.5, 3: -2.0, 9: -4.0}, {"A": 3, "B": 4}, exact=False)
        LabelLogprobs(seen={'A': -2.0}, floor=-4.0)
    """
    numbers = {i: _number(value) for i, value in values.items() if value != NOTHING}
    seen = {label: numbers[i] for label, i in ids.items() if i in numbers}
    if not numbers or (exact and len(seen) < len(ids)):
        raise LogprobsError("the server did not report the log-probabilities it was asked for")
    return LabelLogprobs(seen) if exact else LabelLogprobs(seen, floor=min(numbers.values()))


def _first_label(
    positions: Sequence[Position], names: dict[str, str], before: str
) -> tuple[Position, str]:
    """Where the first label stands, and how much of ``before`` is in the same token."""
    left, written = before, ""
    # White space has its own tokens: the first label stands after it.
    for position in [p for p in positions if p.token.strip(_MARKS)] or positions:
        token = position.token.strip(_MARKS)
        names_one = token.removeprefix(left).strip(_MARKS) in names
        # With nothing of ``before`` written, the answer may begin with the label itself.
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


def _number(value: object) -> float:
    if not isinstance(value, int | float) or math.isnan(value):
        raise ModelOutputError(f"the server reported the log-probability {value!r}")
    return min(float(value), 0.0)  # above zero by rounding only
