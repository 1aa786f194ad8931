"""Passages of running prose from manuals and books whose licences permit it.

A source is a folder of reStructuredText, HTML, plain text, or countries of the World Factbook as
JSON. Each passage names its licence: look it up, nothing here can check it.
"""

import argparse
import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import rst
from commands import count, execute
from html_text import Page
from text import STOP_WORDS

from rerank_plugins import InputError
from rerank_plugins.training.data._lists import write_rows

LEAST, MOST = 60, 120  # words of a passage
SAME = 8  # passages with these many first words in common are the same

SKIPPED = re.compile(
    r"(^|[/_.-])(change(s|log)?|whats_?new|releases?|news|genindex|search|authors|contribut\w*|"
    r"licen[sc]es?|legal|copyright|bibliography|z?references|todo|gitwash|generated|implementors|src|team|about_us)"
    r"([/_.-]|$)",
    re.IGNORECASE,
)
PACKED = (".gz", ".dz")
SUFFIXES = re.compile(r"\.(rst|html|html\.en|txt|json|dict)(\.gz|\.dz)?$")
SENTENCE = re.compile(
    r"(?<=[a-z0-9)%\"'\u201d\u2019][.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z(\"\u201c])"
)
START = re.compile(r"[\"'(\u201c\u2018]*[A-Z]")
END = re.compile(r"[.!?][\"')\u201d\u2019]*$")
CITATION = re.compile(r"\s*\[[#\w ,.+-]*\]_?|\[\d+\]")
NO_PROSE = re.compile(
    r"[\\{}|<>=^`~\[\]*@#]|::|\.\.|//|\$\D|\(\)|\w_\w|\w\.[a-z]\w*\.|\s--?\w|&\w+;"
)


@dataclass(frozen=True)
class Source:
    """A folder of texts under one licence."""

    name: str
    folder: Path
    licence: str


@dataclass(frozen=True)
class Passage:
    """A line of the file."""

    _id: str
    title: str
    text: str
    source: str
    licence: str


def source(given: str) -> Source:
    """The source that ``NAME=FOLDER:LICENCE`` means."""
    name, _, rest = given.partition("=")
    folder, _, licence = rest.partition(":")
    if not (name and licence.strip() and Path(folder).is_dir()):
        raise argparse.ArgumentTypeError(f"{given!r} is not NAME=FOLDER:LICENCE with a folder")
    return Source(name, Path(folder), licence.strip())


def passages(given: Source, most: int, chance: Random) -> list[Passage]:
    """Passages of a source, drawn by chance where there are more than ``most``."""
    seen: set[str] = set()
    found = [
        (title, text)
        for path in _files(given.folder)
        for title, paragraphs in _sections(path, given.name)
        for sentences in _runs(paragraphs, seen)
        for text in _joined(sentences, chance)
        if _is_english(text) and _is_new(text, seen)
    ]
    kept = sorted(chance.sample(range(len(found)), min(most, len(found))))
    return [Passage(f"{key_of(given)}-{i}", *found[i], given.name, given.licence) for i in kept]


def key_of(given: Source) -> str:
    """The beginning of the ids of a source's passages."""
    return re.sub(r"\W+", "-", given.name.lower())


def _files(folder: Path) -> list[Path]:
    """The files to read: the sources of a manual rather than the pages made from them."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [(path, path.relative_to(folder).as_posix()) for path in found]
    fit = [path for path, name in named if SUFFIXES.search(name) and not SKIPPED.search(name)]
    return [path for path in fit if "_sources" in path.parts] or fit


def _sections(path: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Paragraphs, each section with its title."""
    text = _read(path)
    plain = path.name.removesuffix(".gz").removesuffix(".dz")
    if plain.endswith((".rst", ".rst.txt")):
        yield from _titled(rst.title(text), rst.sections(text))
    elif plain.endswith((".txt", ".dict")):
        about = path.name.split(".")[0].replace("-", " ").replace("_", " ")
        yield f"{name}: {about}", [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    elif plain.endswith(".json"):
        yield from _country(path, text)
    else:
        page = Page(text)
        yield from _titled(page.title, page.sections)


def _read(path: Path) -> str:
    """The text of a file; old pages are Latin-1."""
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix in PACKED else data
    except (OSError, EOFError) as error:
        raise InputError(f"{path} is not a gzip file: {error}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _titled(title: str, sections: dict[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
    for heading, paragraphs in sections.items():
        parts = dict.fromkeys(part for part in (title, heading) if part)
        yield ": ".join(parts), paragraphs


def _country(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """The texts of a country, each under its name and that of the field; other JSON has none."""
    try:
        fields = json.loads(text)
        names = fields["Government"]["Country name"]
        short = names.get("conventional short form", names.get("conventional long form"))
    except (KeyError, TypeError, AttributeError):
        return
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if short:
        for field, marked in _texts(fields, ""):
            lines = re.sub(r"(<br ?/?>)+", "<p>", f"<p>{marked}")
            yield (
                f"{short['text']}: {field}",
                [paragraph for found in Page(lines).sections.values() for paragraph in found],
            )


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The strings under the keys ``text``, each with the key above it."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key == "text" and isinstance(inner, str):
            yield name, inner
        else:
            yield from _texts(inner, key.strip())


def _runs(paragraphs: Iterable[str], seen: set[str]) -> Iterator[list[str]]:
    """The sentences of prose that stands nowhere before; what is left out ends a run."""
    run: list[str] = []
    for paragraph in paragraphs:
        parts = [part.strip() for part in SENTENCE.split(CITATION.sub("", paragraph))]
        if parts[-1].endswith(":"):  # announces what is left out here
            parts.pop()
        if parts and all(map(_is_prose, parts)) and _is_new(" ".join(parts), seen, "paragraph"):
            run += parts
        else:
            yield run
            run = []
    yield run


def _is_prose(sentence: str) -> bool:
    """Whether it begins and ends as a sentence, with little but words in between."""
    letters = sum(letter.isalpha() for letter in sentence)
    return (
        2 < len(sentence.split()) <= 80
        and START.match(sentence) is not None
        and END.search(sentence) is not None
        and letters > 0.72 * len(sentence)
        and not NO_PROSE.search(sentence)
    )


def _joined(sentences: list[str], chance: Random) -> Iterator[str]:
    """Passages of whole sentences; what is too short or too long is left out."""
    current: list[str] = []
    goal = chance.randint(LEAST, MOST - 20)
    for sentence in sentences:
        current.append(sentence)
        words = len(" ".join(current).split())
        if words >= goal:
            if words <= MOST:
                yield " ".join(current)
            current, goal = [], chance.randint(LEAST, MOST - 20)
    if LEAST <= len(" ".join(current).split()) <= MOST:
        yield " ".join(current)


def _is_english(text: str) -> bool:
    words = text.lower().split()
    return text.isprintable() and sum(word in STOP_WORDS for word in words) > 0.25 * len(words)


def _is_new(text: str, seen: set[str], kind: str = "") -> bool:
    """Whether nothing before started with the same words."""
    start = " ".join([kind, *re.findall(r"\w+", text.lower())[:SAME]])
    new = start not in seen
    seen.add(start)
    return new


def main(sources: list[Source], out: Path, most: int, seed: int) -> None:
    """Write the passages of all sources into one file."""
    rows: list[dict[str, str]] = []
    if len({key_of(given) for given in sources}) < len(sources):
        raise InputError("two sources have the same name", hint="Their passages would share ids.")
    for given in sources:
        found = passages(given, most, Random(seed))
        print(f"{len(found)}\t{given.name}\t{given.licence}", flush=True)
        rows += [asdict(one) for one in found]
    print(f"{write_rows(rows, out)} passages in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=source, metavar="NAME=FOLDER:LICENCE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=count, default=3000, help="passages of a source")
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    execute(lambda: main(given.sources, given.out, given.most, given.seed))
