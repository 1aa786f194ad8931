"""The application's own chat model as a backend: for the authors of framework adapters."""

from .._answers.logprobs import read_positions
from .._prompts.messages import Messages
from ._conversation import Asked, Said, tokens_used
from ._dialects import COMPLETIONS, MUTE, OLLAMA, RESPONSES, TRANSFORMERS, Dialect
from ._model import MAX_CONCURRENCY, ChatModelBackend

__all__ = [
    "COMPLETIONS",
    "MAX_CONCURRENCY",
    "MUTE",
    "OLLAMA",
    "RESPONSES",
    "TRANSFORMERS",
    "Asked",
    "ChatModelBackend",
    "Dialect",
    "Messages",
    "Said",
    "read_positions",
    "tokens_used",
]
