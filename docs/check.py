"""Check of the built documentation: `python docs/check.py site`, after `mkdocs build`.

It fails where the text of a page shows a docstring's raw fields (``:param x:``), and where the
reference has no entry for a public name.
"""

import re
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

FIELD = re.compile(r":(?:param|type|returns?|rtype|raises?|yields?)\b[^:\n]{0,80}:")
MODULES = (
    "haystack_integrations.components.rankers.rerank_plugins",
    "haystack_integrations.components.retrievers.rerank_plugins",
    "langchain_rerank_plugins",
    "llama_index.postprocessor.rerank_plugins",
    "llama_index.retrievers.rerank_plugins",
    "rerank_plugins.backends",
    "rerank_plugins.evaluation",
    "rerank_plugins.evaluation.report",
    "rerank_plugins.feedback",
    "rerank_plugins.jobs",
    "rerank_plugins.middleware",
    "rerank_plugins.prompts",
    "rerank_plugins.serving",
    "rerank_plugins.strategies",
    "rerank_plugins.testing",
    "rerank_plugins.training",
)


class Page(HTMLParser):
    """The text of a page outside of code, and the names that can be linked to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.names, self._code = "", set[str](), 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._code += tag in ("code", "script", "style")
        self.names |= {value for key, value in attrs if key == "id" and value}

    def handle_endtag(self, tag):
        self._code -= tag in ("code", "script", "style")

    def handle_data(self, data):
        self.text += "" if self._code else data


def raw_fields(html: str) -> list[str]:
    """The raw fields that a page shows outside of code, such as ``:param x:``."""
    return FIELD.findall(Page(html).text)


def without_entry(names: set[str]) -> list[str]:
    """The public names that are not among those of the reference."""
    public = [f"{module}.{name}" for module in MODULES for name in import_module(module).__all__]
    return [
        name for name in public if not any(n == name or n.startswith(f"{name}.") for n in names)
    ]


def problems(site: Path) -> list[str]:
    """The faults of a built site, a line each."""
    found, names = [], set[str]()
    for file in sorted(site.rglob("*.html")):
        html = file.read_text("utf-8")
        names |= Page(html).names
        if fields := raw_fields(html):
            found.append(f"{file} shows {len(fields)} raw fields such as {fields[0]}")
    return [*found, *(f"the reference has no {name}" for name in without_entry(names))]


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]))) or 0)
