"""A model behind an OpenAI-compatible API.

`exchange`, `capabilities` and the modules named ``by_...`` build requests and do no I/O; `wire`
reads answers; `transport` sends; `openai` holds the backend.
"""

from .openai import OpenAIBackend, list_models

__all__ = ["OpenAIBackend", "list_models"]
