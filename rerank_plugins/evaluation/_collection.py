"""Test collections: BEIR folders, and the collections of ``ir_datasets``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._extras import extra
from .._files import lines_of, rows_of
from ..errors import InputError

Qrels = Mapping[str, Mapping[str, int]]

IR_DATASETS = "irds:"


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


def load_collection(source: str | Path, *, split: str = "test") -> Collection:
    """Read a BEIR folder, plain or gzipped, or a collection of ``ir_datasets``.

    Args:
        source: A folder with ``corpus.jsonl``, ``queries.jsonl`` (or ``.gz``) and
            ``qrels/SPLIT.tsv``; or ``irds:NAME``, such as ``irds:beir/scifact/test``, which
            ``ir_datasets`` may download.
        split: The judgements of a folder to read.

    Raises:
        InputError: A file is missing, damaged, empty or not of that layout, an id or a judgement
            is given twice, or a judged query has no text.
        MissingExtraError: The source is of ``ir_datasets``, which is not installed.
    """
    if str(source).startswith(IR_DATASETS):
        return _from_ir_datasets(str(source).removeprefix(IR_DATASETS))
    root = Path(source)
    qrels = _judgements(root / "qrels" / f"{split}.tsv")
    queries = _texts(root / "queries.jsonl")
    return _checked(_texts(root / "corpus.jsonl"), queries, qrels, str(source))


def _checked(
    documents: Mapping[str, str], queries: Mapping[str, str], qrels: Qrels, name: str
) -> Collection:
    for what, found in (("documents", documents), ("queries", queries), ("judgements", qrels)):
        if not found:
            raise InputError(f"the collection {name!r} has no {what}")
    if lost := [query for query in qrels if query not in queries]:
        raise InputError(
            f"{len(lost)} judged queries of {name!r} have no text, among them {lost[0]!r}",
            hint="Are these the judgements of another collection?",
        )
    judged = {key: text for key, text in queries.items() if key in qrels}
    return Collection(documents=documents, queries=judged, qrels=qrels)


def _texts(path: Path) -> dict[str, str]:
    """Text by id of a file of documents or queries."""
    found: dict[str, str] = {}
    for number, row in rows_of(path):
        if row.get("_id") is None or not isinstance(row.get("text"), str):
            raise InputError(f"line {number} of {path} has no _id or no text")
        key = str(row["_id"])
        if key in found:
            raise InputError(f"line {number} of {path} gives the id {key!r} again")
        found[key] = f"{row.get('title') or ''} {row['text']}".strip()
    return found


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    """Grades by query and document of a file with a header."""
    qrels: dict[str, dict[str, int]] = {}
    for number, line in lines_of(path):
        if number == 1:
            continue  # the header
        try:
            query, document, text = line.split("\t")
            grade = int(text)
        except ValueError as error:
            raise InputError(f"line {number} of {path} is not a judgement") from error
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InputError(
                f"line {number} of {path} judges {document!r} for the query {query!r} again, "
                "with another grade"
            )
    return qrels


def _from_ir_datasets(name: str) -> Collection:
    ir_datasets = extra("ir_datasets", package="ir_datasets")
    try:
        dataset = ir_datasets.load(name)
    except KeyError as error:
        raise InputError(f"ir_datasets knows no {name!r}") from error
    try:
        qrels: dict[str, dict[str, int]] = {}
        for line in dataset.qrels_iter():
            qrels.setdefault(line.query_id, {})[line.doc_id] = line.relevance
        documents = _default_texts(dataset.docs_iter(), "doc_id")
        queries = _default_texts(dataset.queries_iter(), "query_id")
    except AttributeError as error:
        raise InputError(f"{name!r} has no documents, queries or judgements: {error}") from error
    return _checked(documents, queries, qrels, IR_DATASETS + name)


def _default_texts(rows: Iterable[Any], key: str) -> dict[str, str]:
    return {getattr(row, key): row.default_text().strip() for row in rows}
