"""Backends answer calls. Each imports its dependencies when it is first used."""

from .._loading import loading
from ..handlers import AsyncBackend, Backend
from ._base import by_kind
from ._late.late_interaction import LateInteractionBackend
from ._late.store import TokenVectors
from ._local.cross_encoder import CrossEncoderBackend
from ._local.embedding import EmbeddingBackend
from ._local.loading import unpacked_gguf
from ._local.seq2seq import Seq2SeqBackend
from ._local.transformers import TransformersBackend
from ._onnx.classifier import OnnxCrossEncoderBackend
from ._onnx.export import export_weights
from ._server import OpenAIBackend
from ._several.balanced import Balanced
from ._several.routed import Routed
from ._vllm.backend import VLLMBackend

__all__ = [
    "AsyncBackend",
    "Backend",
    "Balanced",
    "CrossEncoderBackend",
    "EmbeddingBackend",
    "LateInteractionBackend",
    "OnnxCrossEncoderBackend",
    "OpenAIBackend",
    "Routed",
    "Seq2SeqBackend",
    "TokenVectors",
    "TransformersBackend",
    "VLLMBackend",
    "by_kind",
    "export_weights",
    "loading",
    "unpacked_gguf",
]
