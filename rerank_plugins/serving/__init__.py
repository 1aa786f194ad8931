"""A reranker behind HTTP, compatible with Jina's and Cohere's clients.

`create_app` makes the application, `serve` runs it until a signal ends it, and
`ServiceSettings` are its limits.
"""

from .._extras import extra

for _module in ("fastapi", "uvicorn", "prometheus_client"):
    extra(_module, "serve")  # a missing module is one sentence

from ._app import create_app  # noqa: E402 - after the check
from ._server import serve  # noqa: E402
from ._service import ServiceSettings  # noqa: E402

__all__ = ["ServiceSettings", "create_app", "serve"]
