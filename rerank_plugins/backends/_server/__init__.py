"""A model behind an OpenAI-compatible API.

`exchange` and the modules named ``by_...`` say what is asked and do no I/O; `wire` reads what
comes back; `transport` sends; `backend` is what a user sees.
"""

from .openai import OpenAIBackend

__all__ = ["OpenAIBackend"]
