"""The pages for people: ``/``, to try the service, and ``/docs``, its interface.

Each is one answer that loads nothing else: its style and script are in it, and its policy allows
those alone, and requests to this service. The pages hold nothing secret, so they need no key; the
requests that they make do.
"""

import hashlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

PAGES = {"/": "rank", "/docs": "docs"}
"""The page of each path."""


@cache
def page(name: str) -> tuple[str, str]:
    """A page, and the policy of its content."""
    folder = files(__package__) / "pages"
    style, common, own, html = (
        (folder / file).read_text("utf-8")
        for file in ("page.css", "page.js", f"{name}.js", f"{name}.html")
    )
    script = common + own
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return html.replace("/*style*/", style).replace("/*script*/", script), policy


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def pages_router() -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False)
    for path, name in PAGES.items():
        router.add_api_route(path, _answer(name), methods=["GET"], response_class=HTMLResponse)
    return router


def _answer(name: str) -> Callable[[], Awaitable[HTMLResponse]]:
    async def answer() -> HTMLResponse:
        html, policy = page(name)
        headers = {
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(html, headers=headers)

    return answer
