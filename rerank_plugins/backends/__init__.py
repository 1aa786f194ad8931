"""What answers calls. Each backend imports its own dependencies when it is first used."""

from ..handlers import AsyncBackend, Backend
from .base import by_kind
from .causal_lm import TransformersBackend
from .loading import unpacked_gguf

__all__ = ["AsyncBackend", "Backend", "TransformersBackend", "by_kind", "unpacked_gguf"]
