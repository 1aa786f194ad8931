"""A reranker behind HTTP, in the shape that Jina's and Cohere's clients speak.

`create_app` makes the application, `serve` runs it until it is told to end, `ServiceSettings` are
its limits.
"""

from .._extras import extra

for _module in ("fastapi", "uvicorn", "prometheus_client"):
    extra(_module, "serve")  # what is missing is said in one sentence

from ._app import create_app  # noqa: E402 - after the check
from ._limits import ServiceSettings  # noqa: E402
from ._uvicorn import serve  # noqa: E402

__all__ = ["ServiceSettings", "create_app", "serve"]
