"""Limits of a loaded model: its head, its positions, and whether it ignores padding."""

from functools import partial
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import InputError, ModelLoadError
from .forward import Forward

if TYPE_CHECKING:
    import torch

NO_LIMIT = 1 << 30
TOLERANCE = 1e-3
"""Difference at most between logits that should be equal, as a share of their spread."""


def require_words(model: Any, *, encoder: bool) -> None:
    """Refuse a loaded model whose output is not the logits of a vocabulary.

    Args:
        model: A model of transformers.
        encoder: Whether it must have an encoder and a decoder, or must be a decoder alone.

    Raises:
        ModelLoadError: It has no language-model head, or is not of that kind.
    """
    has_encoder = bool(getattr(model.config, "is_encoder_decoder", False))
    if model.get_output_embeddings() is None or has_encoder != encoder:
        kind = "model with an encoder and a decoder" if encoder else "causal language model"
        raise ModelLoadError(
            f"{type(model).__name__} is not a {kind} that writes text",
            hint="Use Seq2SeqBackend for encoder-decoder models and CrossEncoderBackend for "
            "classifiers.",
        )


def positions(model: Any) -> int:
    """Count the tokens that a model's positions are for.

    RoBERTa and its relatives begin to count after the padding token, so that their configuration
    names more. DeBERTa without absolute positions has no limit, nor have models that name none.

    Args:
        model: A model of transformers, or an exported one that has the same configuration.
    """
    config = model.config.get_text_config()
    names = ("max_position_embeddings", "max_encoder_position_embeddings")
    stated = next((n for name in names if (n := getattr(config, name, None))), None)
    # XLNet states -1: its positions are relative.
    if stated is None or stated < 1 or not getattr(config, "position_biased_input", True):
        return NO_LIMIT
    if not hasattr(model, "modules"):  # exported: the same architecture without weights
        torch = extra("torch", "transformers")
        with torch.device("meta"):
            model = extra("transformers", "transformers").AutoModel.from_config(config)
    limits = [int(stated)]
    for module in model.modules():
        padding, table = (getattr(module, n, None) for n in ("padding_idx", "position_embeddings"))
        if isinstance(padding, int) and (weight := getattr(table, "weight", None)) is not None:
            limits.append(len(weight) - padding - 1)
    return min(limits)


def require_positions(name: str, tokens: int | None, model: Any) -> int:
    """Refuse a limit that is larger than what a model can read.

    Args:
        name: The argument.
        tokens: Its value; None for the model's own limit.
        model: The model.

    Returns:
        The smaller of both limits.

    Raises:
        InputError: The model has fewer positions than ``tokens``.
    """
    return fitting(name, tokens, positions(model))


def fitting(name: str, tokens: int | None, own: int) -> int:
    """Refuse a limit that is larger than a model's own.

    Args:
        name: The argument.
        tokens: Its value; None for the model's own limit.
        own: The tokens that the model's positions are for.

    Returns:
        The smaller of both limits.

    Raises:
        InputError: The model has fewer positions than ``tokens``.
    """
    if tokens is not None and tokens > own:
        raise InputError(
            f"{name} is {tokens}, and the model reads {own} tokens at most",
            hint=f"Leave {name} out for the model's own limit.",
        )
    return tokens or own


def require_embeddings(name: str, tokens: int, embeddings: object) -> None:
    """Refuse a tokenizer with more tokens than the model knows: it would fail at some texts only.

    Tokens that were added to the tokenizer's own are not counted: many are never used.

    Args:
        name: The model's.
        tokens: Of the tokenizer, without those that were added.
        embeddings: The tokens that the model's configuration states; anything but a number where
            it states none.

    Raises:
        ModelLoadError: The tokenizer has more.
    """
    if isinstance(embeddings, int) and tokens > embeddings:
        raise ModelLoadError(
            f"the tokenizer of {name} has {tokens} tokens, and the model knows {embeddings}",
            hint="Use the tokenizer that the model was trained with.",
        )


def pads_exactly(forward: Forward, context: int, *, states: bool = False) -> bool:
    """Whether a padded sequence gets the logits that it gets alone; found by a trial.

    Recurrent models such as RWKV read the padding too.

    Args:
        forward: The model.
        context: Tokens that it reads at most.
        states: Compare states: the model has no language-model head.
    """
    import torch

    words = forward.model.config.get_text_config().vocab_size
    long = [(7919 * i + 13) % words for i in range(min(24, context))]
    short = long[-max(1, len(long) // 4) :]
    try:
        with torch.inference_mode():
            # Some models give the logits of every position.
            output = forward.states if states else partial(forward.logits, keep=1)
            alone = output([short])[0, -1]
            padded = output([short, long])[0, -1]
    except Exception:  # noqa: BLE001 - a model may fail in any way, and then it cannot be padded
        return False
    return difference(padded, alone) <= tolerance(forward.model)


def difference(found: "torch.Tensor", right: "torch.Tensor") -> float:
    """The distance of logits from the right ones, as a share of the spread of these."""
    return float((found - right).norm() / (right - right.mean()).norm())


def tolerance(model: Any) -> float:
    """The difference that rounding makes in a model at most."""
    import torch

    return max(TOLERANCE, 10 * torch.finfo(model.dtype).eps)
