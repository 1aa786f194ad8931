"""The sequences that run together, and the beginning that they share.

A beginning is computed once only where that changes no answer.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ..._extras import extra
from .forward import Forward
from .limits import NO_LIMIT, difference, tolerance

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_ROWS = 32
"""Sequences in one forward pass at most: bounds the memory that their logits take."""
LEAST_SHARED = 32
"""Tokens that a shared beginning must have to be worth a forward pass."""
LEAST_SAVED = 0.1
"""Share of all tokens that must be saved: the forward passes after a shared beginning are slower
per token."""

_KEYS_AND_VALUES = {"DynamicLayer", "DynamicSlidingWindowLayer"}
"""Layers of a cache that hold keys and values and nothing else."""


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences that begin alike.

    Args:
        members: Their positions.
        shared: Tokens at their beginning to compute once; 0 where each is computed whole.
    """

    members: tuple[int, ...]
    shared: int = 0


def group_alike(sequences: Sequence[list[int]], most: Sequence[int]) -> list[Group]:
    """Group sequences that begin alike, so that the fewest tokens have to be computed.

    Sequences that share too little to gain anything are in one group with ``shared=0``, the last.

    Args:
        sequences: Token ids.
        most: Tokens of each sequence that may be shared at most.

    Examples:
        >>> one, other = [1] * 40, [2] * 40
        >>> found = group_alike([[*one, 5], [*other, 6], [*one, 7, 8], [*other, 9], [3]], [40] * 5)
        >>> [(group.members, group.shared) for group in found]
        [((0, 2), 40), ((1, 3), 40), ((4,), 0)]
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    common = []
    for a, b in pairwise(order):
        limit = max(0, min(most[a], most[b]))
        pairs = zip(sequences[a][:limit], sequences[b][:limit], strict=True)
        common.append(next((i for i, (x, y) in enumerate(pairs) if x != y), limit))
    found = []
    for start, stop, shared in _spans(common, 0, len(order)):
        members = tuple(sorted(order[start:stop]))
        saved = shared * (len(members) - 1)
        if saved > LEAST_SAVED * sum(len(sequences[i]) for i in members):
            found.append(Group(members, shared))
    rest = sorted({*range(len(sequences))}.difference(*(group.members for group in found)))
    return [*found, Group(tuple(rest))] if rest else found


def _spans(common: Sequence[int], start: int, stop: int) -> list[tuple[int, int, int]]:
    """Cut sorted sequences ``start`` to ``stop`` into the spans that save most.

    ``common[i]`` is the number of tokens that neighbours ``i`` and ``i + 1`` share. All sequences
    share the smallest of these numbers; cut at the smallest, the parts may share more: queries
    under one instruction, for example.

    Returns:
        ``(start, stop, shared)`` of each span.
    """
    if stop - start < 2:
        return [(start, stop, 0)] if stop > start else []
    shared = min(common[start : stop - 1])
    # The step grows with the length, so that there are few levels for any texts.
    deeper = shared + max(4, shared // 8)
    cuts = [i + 1 for i in range(start, stop - 1) if common[i] < deeper]
    parts = [s for a, b in pairwise([start, *cuts, stop]) for s in _spans(common, a, b)]
    together = shared * (stop - start - 1) if shared >= LEAST_SHARED else 0
    apart = sum(n * (b - a - 1) for a, b, n in parts)
    return [(start, stop, shared)] if together and together >= apart else parts


def batches(
    lengths: Sequence[int], budget: int | None, most: int = MAX_ROWS
) -> Iterator[list[int]]:
    """Group the positions in ``lengths`` so that no group holds more than ``budget`` tokens.

    Longest first, so that neighbours are of similar length, padding is small, and a batch that is
    too large for memory fails at once and not at the end.

    Args:
        lengths: Tokens of each sequence.
        budget: Tokens in a group, padding included; a longer sequence gets a group of its own.
            None puts every sequence into its own group.
        most: Sequences in a group.

    Examples:
        >>> list(batches([3, 9, 4, 4], budget=12))
        [[1], [2, 3, 0]]
    """
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[group[0]] if group else lengths[i]
        full = budget is None or longest * (len(group) + 1) > budget or len(group) >= most
        if group and full:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def shareable_tokens(forward: Forward, context: int) -> int:
    """The length in tokens up to which sequences may share their beginning; 0 if none may.

    Sliding windows and rotary embeddings that stretch with the sequence are exact up to a
    length, and that is the answer. Where the model keeps anything else than keys and values of
    every token, or where a trial gives other logits than a plain forward pass, it is 0, with a
    warning.
    """
    import torch

    model = forward.model
    try:
        limit = min(_same_up_to(model), context)
        words = model.config.get_text_config().vocab_size
        ids = [(7919 * i + 13) % words for i in range(LEAST_SHARED + 12)]
        if limit < len(ids):
            return 0  # too short to try, and to gain anything
        rows = [ids[:LEAST_SHARED] + ids[-5:], ids]
        with torch.inference_mode():
            plain = torch.cat([forward.logits([row], keep=1) for row in rows])
            prefix = forward.prefix(ids[:LEAST_SHARED])
            shared = forward.logits(rows, keep=1, prefix=prefix)
            found = difference(shared, plain)
    except Exception as error:  # noqa: BLE001 - a model's cache may fail in any way
        reason = f"its cache cannot be used ({type(error).__name__}: {error})"
    else:
        if found <= tolerance(model):
            return limit
        reason = f"its logits would differ by {found:.1%} of their spread"
    warnings.warn(
        f"{type(model).__name__} computes every prompt as a whole, because the beginning of its "
        f"prompts cannot be shared: {reason}. share_prefix=False silences this.",
        stacklevel=2,
    )
    return 0


def _same_up_to(model: "PreTrainedModel") -> int:
    """The length up to which a token's state does not depend on what follows it."""
    cache = extra("transformers", "transformers").DynamicCache(config=model.config)
    if odd := {type(layer).__name__ for layer in cache.layers} - _KEYS_AND_VALUES:
        raise ValueError(f"it has layers of type {', '.join(sorted(odd))}")
    limits = [getattr(layer, "sliding_window", NO_LIMIT) for layer in cache.layers]
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    if any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds):
        # Such rotary embeddings depend on the whole length, once that is beyond the original.
        name = "original_max_position_embeddings"
        known = [kind.get(name) for kind in kinds] + [getattr(config, name, None)]
        limits += [int(n) for n in known if n] or [int(config.max_position_embeddings)]
    return min([*limits, NO_LIMIT])
