"""What answers calls. Each backend imports its own dependencies when it is first used."""

from ..handlers import AsyncBackend, Backend
from .balanced import Balanced
from .base import by_kind
from .causal_lm import TransformersBackend
from .cross_encoder import CrossEncoderBackend
from .loading import unpacked_gguf
from .routed import Routed
from .seq2seq import Seq2SeqBackend
from .server import OpenAIBackend
from .vllm import VLLMBackend

__all__ = [
    "AsyncBackend",
    "Backend",
    "Balanced",
    "CrossEncoderBackend",
    "OpenAIBackend",
    "Routed",
    "Seq2SeqBackend",
    "TransformersBackend",
    "VLLMBackend",
    "by_kind",
    "unpacked_gguf",
]
