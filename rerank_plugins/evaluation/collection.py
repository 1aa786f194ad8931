"""Test collections in the BEIR layout."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from ..errors import InputError

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Documents, queries and judgements.

    Attributes:
        documents: Text by document id; title and text joined by a space.
        queries: Text by query id: the judged ones of the split.
        qrels: Grade by query id and document id; 0 is judged and not relevant.
    """

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels


def load_collection(folder: str | Path, *, split: str = "test") -> Collection:
    """Read a BEIR folder, plain or gzipped.

    Args:
        folder: Holds ``corpus.jsonl``, ``queries.jsonl`` (or ``.gz``) and ``qrels/SPLIT.tsv``.
        split: Which judgements.

    Raises:
        InputError: A file is missing or not of that layout.
    """
    root = Path(folder)
    qrels: dict[str, dict[str, int]] = {}
    for query, document, grade in _judgements(root / "qrels" / f"{split}.tsv"):
        qrels.setdefault(query, {})[document] = grade
    return Collection(
        documents={d["_id"]: _text(d) for d in _jsonl(root / "corpus.jsonl")},
        queries={q["_id"]: q["text"] for q in _jsonl(root / "queries.jsonl") if q["_id"] in qrels},
        qrels=qrels,
    )


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 text file, or its gzipped version where only that is there.

    Raises:
        InputError: Neither is there.
    """
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            opened = gzip.open if candidate.suffix == ".gz" else open
            return cast(TextIO, opened(candidate, "rt", encoding="utf-8"))
    raise InputError(f"there is no file {str(path)!r}, plain or gzipped")


def _text(document: Mapping[str, Any]) -> str:
    return f"{document.get('title', '')} {document['text']}".strip()


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                yield {**row, "_id": str(row["_id"]), "text": str(row["text"])}
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"line {number} of {path} is not a BEIR record") from error


def _judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    with open_text(path) as file:
        next(file, None)  # the header
        for number, line in enumerate(file, start=2):
            try:
                query, document, grade = line.split("\t")
                yield query, document, int(grade)
            except ValueError as error:
                raise InputError(f"line {number} of {path} is not a judgement") from error
