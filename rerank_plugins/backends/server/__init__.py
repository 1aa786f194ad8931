"""A model behind an OpenAI-compatible API.

`exchange` and the modules named ``by_...`` say what is asked and do no I/O; `answers` reads what
comes back; `transport` sends; `backend` is what a user sees.
"""

from .backend import OpenAIBackend

__all__ = ["OpenAIBackend"]
