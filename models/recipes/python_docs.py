"""The Python documentation: passages from its reStructuredText, and queries from its headings."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from pool import Pool, filled
from text import chunks, phrases, sentences

PROSE = ("faq", "howto", "tutorial")  # come first
FOLDERS = (*PROSE, "library", "using", "reference", "extending", "installing")
PASSAGES_OF_A_SECTION = 3

UNDERLINE = re.compile(r"^([=\-~^*\"'#+])\1{3,}\s*$")
BULLET = re.compile(r"^[*-] |^#\. ")
ROLE = re.compile(r":[\w:+-]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
LINK = re.compile(r"`([^`<]*?)\s*<[^`]*>`_+")
MARKUP = re.compile(r"\*\*?|``|`_*|\|")
NO_PROSE = (".. ", ">>>", "+-", "==", ":")

ABOUT_A_HEADING = (
    "how to {}",
    "python {}",
    "{} in python",
    "how do i use {}",
    "{}",
    "what is {} in python",
    "what are {}",
)
ABOUT_A_PHRASE = (
    "what is {}",
    "how does {} work",
    "{} python",
    "how to use {}",
    "why use {}",
)


def pool_of_sections(folder: Path, limit: int, words: int, chance: Random) -> Pool:
    """About ``limit`` passages of the sources, with queries."""
    pool = Pool()
    for path in _files(folder, chance):
        for heading, paragraphs in _sections(path).items():
            found = [s for paragraph in paragraphs for s in sentences(paragraph)]
            parts = chunks(found, words, chance)
            prefix = f"py-{path.parent.name}-{path.name.split('.')[0]}"
            _add(pool, prefix, heading, parts[:PASSAGES_OF_A_SECTION], chance)
            if len(pool.passages) >= limit:
                return pool
    return pool


def _files(folder: Path, chance: Random) -> list[Path]:
    files = sorted(path for name in FOLDERS for path in (folder / name).glob("*.rst.txt"))
    chance.shuffle(files)
    return sorted(files, key=lambda path: path.parent.name not in PROSE)


def _sections(path: Path) -> dict[str, list[str]]:
    """Paragraphs of running text by heading; sections with none are left out."""
    found: dict[str, list[str]] = {}
    for heading, paragraph in _paragraphs(path.read_text(encoding="utf-8").split("\n")):
        text = _plain(paragraph)
        whole = len(text.split()) > 7 and re.search(r"[.?!:]$", text)
        if whole and not text.startswith(NO_PROSE):
            found.setdefault(heading, []).append(text)
    return found


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


def _add(pool: Pool, prefix: str, heading: str, parts: list[list[str]], chance: Random) -> None:
    for i, part in enumerate(parts):
        text = " ".join(part)
        if len(text.split()) >= 12:
            key = f"{prefix}-{len(pool.passages)}"
            pool.passages[key] = text
            pool.ask(key, _queries(heading if i == 0 else "", part, chance))


def _queries(heading: str, part: list[str], chance: Random) -> Iterator[str]:
    if title := re.sub(r"^[\d.]+\s*", "", heading).split(" --- ")[-1]:
        is_question = title.endswith("?")
        yield title if is_question else filled(ABOUT_A_HEADING, chance, title.lower())
    if chance.random() < 0.4 and (found := phrases(" ".join(part))):
        template = chance.choice(ABOUT_A_PHRASE)
        yield template.format(chance.choice(found)).lower()
    if len(part) > 2 and chance.random() < 0.25:
        yield chance.choice(part)
