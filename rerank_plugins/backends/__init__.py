"""What answers calls. Each backend imports its own dependencies when it is first used."""

from ..handlers import AsyncBackend, Backend
from .base import by_kind
from .causal_lm import TransformersBackend
from .cross_encoder import CrossEncoderBackend
from .loading import unpacked_gguf
from .routed import Routed
from .seq2seq import Seq2SeqBackend

__all__ = [
    "AsyncBackend",
    "Backend",
    "CrossEncoderBackend",
    "Routed",
    "Seq2SeqBackend",
    "TransformersBackend",
    "by_kind",
    "unpacked_gguf",
]
