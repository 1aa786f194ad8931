"""Running text of HTML pages: the paragraphs of each section, without tables and code."""

import re
from html.parser import HTMLParser

HEADINGS = ("title", "h1", "h2", "h3", "h4")
LEFT_OUT = ("pre", "table", "nav", "header", "footer", "script", "style", "aside", "button")
_INLINE = """
    a abbr acronym b big br cite code dfn em font i img kbd q s samp small span strong sub sup tt u
    var wbr
"""
INLINE = frozenset(_INLINE.split())
NUMBER = re.compile(r"^((Chapter|Appendix) )?([A-Z]\.|\d+\b)[\d.]*\s+")


class Page(HTMLParser):
    """The text of a page as it is read.

    Attributes:
        title: The page's title or, without one, its first heading.
        sections: Paragraphs by heading.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title = ""
        self.sections: dict[str, list[str]] = {}
        self._heading, self._inside, self._words, self._depth = "", "", "", 0
        self.feed(text)
        self.close()
        self._end()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in LEFT_OUT:
            self._depth += 1
        elif tag == "br":
            self._words += " "
        if tag not in INLINE:
            self._end()
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in LEFT_OUT:
            self._depth = max(0, self._depth - 1)
        if tag not in INLINE:
            self._end()

    def handle_data(self, data: str) -> None:
        if self._inside and not self._depth:
            self._words += data

    def _end(self) -> None:
        text = re.sub(r"\s+", " ", self._words.replace("¶", "")).strip()
        if text and self._inside in HEADINGS:
            self._heading = NUMBER.sub("", text)
            self.title = self.title or re.split(r" [\u2014\u2013|-] ", self._heading)[0]
        elif text and self._inside == "p":
            self.sections.setdefault(self._heading, []).append(text)
        self._inside = self._words = ""
