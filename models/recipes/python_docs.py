"""The Python documentation: passages from its reStructuredText, and queries from its headings."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from pool import Pool, filled
from rst import sections
from text import chunks, phrases, sentences

PROSE = ("faq", "howto", "tutorial")  # come first
FOLDERS = (*PROSE, "library", "using", "reference", "extending", "installing")
PASSAGES_OF_A_SECTION = 3

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
        for heading, paragraphs in sections(path.read_text(encoding="utf-8")).items():
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
