"""Where a common beginning may be computed once: only where that changes no answer."""

import warnings
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from .batching import LEAST_SHARED
from .forward import Forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_LIMIT = 1 << 30
TOLERANCE = 1e-3
"""How far shared logits may be from unshared ones, as a part of the logits' own spread."""

_KEYS_AND_VALUES = {"DynamicLayer", "DynamicSlidingWindowLayer"}
"""Layers of a cache that hold keys and values and nothing else."""


def shareable_tokens(forward: Forward, context: int) -> int:
    """The longest sequences, in tokens, that may share their beginning; 0: none may.

    Sliding windows and rotary embeddings that stretch with the sequence are exact up to a
    length, and that is the answer. Where the model keeps anything else than keys and values of
    every token, or where a trial gives other logits than a plain forward pass, it is 0, with a
    warning.
    """
    model = forward.model
    try:
        limit = min(_same_up_to(model), context)
        if limit < len(_trial(model)[-1]):
            return 0  # too short to try, and to gain anything
        unlike = _trial_error(forward)
    except Exception as error:  # noqa: BLE001 - whatever a model does with a cache, it is said
        reason = f"its cache cannot be used ({type(error).__name__}: {error})"
    else:
        if unlike <= max(TOLERANCE, 10 * _precision(model)):
            return limit
        reason = f"its logits are then {unlike:.1%} of their spread away from those without"
    warnings.warn(
        f"{type(model).__name__} computes every prompt as a whole, because the beginning of its "
        f"prompts cannot be shared: {reason}. share_prefix=False silences this.",
        stacklevel=2,
    )
    return 0


def _same_up_to(model: "PreTrainedModel") -> int:
    """Up to how many tokens a token's state is the same whatever follows it."""
    cache = extra("transformers", "transformers").DynamicCache(config=model.config)
    if odd := {type(layer).__name__ for layer in cache.layers} - _KEYS_AND_VALUES:
        raise ValueError(f"it is made of {', '.join(sorted(odd))}")
    windows = [getattr(layer, "sliding_window", NO_LIMIT) for layer in cache.layers]
    return min([*windows, *_unstretched(model.config.get_text_config()), NO_LIMIT])


def _unstretched(config: Any) -> list[int]:
    """Up to how many tokens rotary embeddings that depend on the whole length are constant."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    if not any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds):
        return []
    name = "original_max_position_embeddings"
    known = [kind.get(name) for kind in kinds] + [getattr(config, name, None)]
    return [int(n) for n in known if n] or [int(config.max_position_embeddings)]


def _trial(model: "PreTrainedModel") -> tuple[list[int], list[int]]:
    """Two sequences of different length that begin alike."""
    words = model.config.get_text_config().vocab_size
    ids = [(7919 * i + 13) % words for i in range(LEAST_SHARED + 12)]
    return ids[:LEAST_SHARED] + ids[-5:], ids


def _trial_error(forward: Forward) -> float:
    """How far the shared logits are from the unshared ones, in parts of their spread."""
    import torch

    rows = _trial(forward.model)
    plain = torch.cat([forward.logits([row], keep=1) for row in rows])
    prefix = forward.prefix(rows[0][:LEAST_SHARED])
    shared = forward.logits(rows, keep=1, prefix=prefix)
    return float((shared - plain).norm() / (plain - plain.mean()).norm())


def _precision(model: "PreTrainedModel") -> float:
    import torch

    return torch.finfo(model.dtype).eps
