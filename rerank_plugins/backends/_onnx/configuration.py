"""Facts about an exported model in its ``config.json``: positions and labels."""

from collections.abc import Mapping
from typing import Any

from .._local.limits import NO_LIMIT

# They begin to count positions after that of the padding token.
_AFTER_PADDING = frozenset(
    {
        *("camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm"),
        *("mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
    }
)
_USUAL_PADDING = 1
_NAMES = ("max_position_embeddings", "max_encoder_position_embeddings")


def positions(config: Mapping[str, Any]) -> int:
    """Count the tokens that a model's positions are for.

    As `rerank_plugins.backends._local.limits.positions` does with a loaded model.

    Args:
        config: The values of its ``config.json``.

    Examples:
        >>> positions({"model_type": "xlm-roberta", "max_position_embeddings": 514})
        512
    """
    kind = config.get("model_type")
    names = (*_NAMES, "n_positions") if kind == "gpt2" else _NAMES
    stated = next((n for name in names if isinstance(n := config.get(name), int)), None)
    if stated is None or not config.get("position_biased_input", True):
        return NO_LIMIT
    if kind not in _AFTER_PADDING:
        return stated
    padding = config.get("pad_token_id", _USUAL_PADDING)
    return stated - (padding if isinstance(padding, int) else _USUAL_PADDING) - 1


def labels(config: Mapping[str, Any]) -> int | None:
    """Count the labels of a classifier; None where its configuration does not say."""
    named, count = config.get("id2label"), config.get("num_labels")
    if isinstance(named, Mapping):
        return len(named)
    return count if isinstance(count, int) else None
