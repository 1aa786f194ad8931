"""Running text of reStructuredText: the paragraphs of each section, without markup."""

import re
from collections.abc import Iterator

UNDERLINE = re.compile(r"^([=\-~^*\"'#+])\1{3,}\s*$")
BULLET = re.compile(r"^[*-] |^#\. ")
ROLE = re.compile(r":[\w:+-]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
LINK = re.compile(r"`([^`<]*?)\s*<[^`]*>`_+")
MARKUP = re.compile(r"\*\*?|``|`_*|\|")
NO_PROSE = (".. ", ">>>", "+-", "==", ":")


def sections(text: str) -> dict[str, list[str]]:
    """Paragraphs of running text by heading; sections with none are left out."""
    found: dict[str, list[str]] = {}
    for heading, paragraph in _paragraphs(text.split("\n")):
        plain = _plain(paragraph)
        whole = len(plain.split()) > 7 and re.search(r"[.?!:]$", plain)
        if whole and not plain.startswith(NO_PROSE):
            found.setdefault(heading, []).append(plain)
    return found


def title(text: str) -> str:
    """The first heading; nothing where there is none."""
    return next((heading for heading, _ in _paragraphs(text.split("\n")) if heading), "")


def _paragraphs(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Unindented paragraphs, each with the heading above it."""
    heading = ""
    paragraph: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if UNDERLINE.match(following) and line.strip() and not line.startswith(" "):
            yield heading, " ".join(paragraph)
            heading, paragraph = _plain(line), []
        elif UNDERLINE.match(line):
            continue
        elif not line.strip() or line.startswith((".. ", "   ", "\t")):
            yield heading, " ".join(paragraph)
            paragraph = []
        else:
            paragraph.append(BULLET.sub("", line))
    yield heading, " ".join(paragraph)


def _plain(text: str) -> str:
    """The text without markup."""
    text = MARKUP.sub("", LINK.sub(r"\1", ROLE.sub(_role, text)))
    return re.sub(r"\s+", " ", text.replace("\\", "")).strip()


def _role(match: re.Match[str]) -> str:
    """The text of a role such as ``:meth:`os.path.join```; the end of a long dotted name."""
    name = match[1]
    return name.split(".")[-1] if name.count(".") > 1 else name
