"""A reranker behind HTTP, in the shape that Jina's and Cohere's clients speak.

`create_app` makes the application, `serve` runs it until it is told to end, `ServiceSettings` are
its limits.
"""

from ..backends.base import extra

for _module in ("fastapi", "uvicorn", "prometheus_client"):
    extra(_module, "serve")  # what is missing is said in one sentence

from .app import create_app  # noqa: E402 - after the check
from .server import serve  # noqa: E402
from .settings import ServiceSettings  # noqa: E402

__all__ = ["ServiceSettings", "create_app", "serve"]
