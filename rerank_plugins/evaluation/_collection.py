"""Test collections: BEIR folders, and the collections of ``ir_datasets``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from .._checks import either
from .._extras import extra
from .._files import lines_of, rows_of, write_lines
from ..errors import InputError

Qrels = Mapping[str, Mapping[str, int]]

IR_DATASETS = "irds:"
SHOWN = 5  # splits in a message
SYNTHETIC = "\tsynthetic:"  # begins the fourth column of a header


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Documents, queries and judgements.

    Attributes:
        documents: Text by document id; title and text joined by a space.
        queries: Text by query id: the judged ones of the split, or all where no split was asked
            for.
        qrels: Grade by query id and document id; 0 is judged and not relevant.
        unjudged: Text by query id: the queries without judgements, such as those of other splits.
        synthetic: The origin of grades that a model wrote, as ``rerank-plugins judge`` states it;
            empty for people's.
    """

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    unjudged: Mapping[str, str] = field(default_factory=dict)
    synthetic: str = ""


def load_collection(source: str | Path, *, split: str | None = "test") -> Collection:
    """Read a BEIR folder, plain or gzipped, or a collection of ``ir_datasets``.

    Args:
        source: A folder with ``corpus.jsonl``, ``queries.jsonl`` (or ``.gz``) and
            ``qrels/SPLIT.tsv``; or ``irds:NAME``, such as ``irds:beir/scifact/test``, which
            ``ir_datasets`` may download.
        split: The judgements of a folder to read, or a file of judgements that ends in ``.tsv``
            or ``.tsv.gz``; None for a folder without any, which gives all queries and no grades.

    Raises:
        InputError: The source is not a collection, a file is missing, damaged, empty or not of
            that layout, an id or a judgement is given twice, or a judged query has no text.
        MissingExtraError: The source is of ``ir_datasets``, which is not installed.
    """
    if str(source).startswith(IR_DATASETS):
        return _from_ir_datasets(str(source).removeprefix(IR_DATASETS), judged=split is not None)
    root = Path(source)
    if lost := [n for n in ("corpus.jsonl", "queries.jsonl") if not _is_there(root / n)]:
        what = f"has no {lost[0]}, plain or gzipped" if root.is_dir() else "is not a folder"
        raise InputError(
            f"{str(root)!r} is not a collection: it {what}",
            hint="Give a folder with corpus.jsonl, queries.jsonl and qrels/, or irds:NAME.",
        )
    qrels, synthetic = _judgements(_judgement_file(root / "qrels", split)) if split else (None, "")
    queries = _texts(root / "queries.jsonl")
    return _checked(_texts(root / "corpus.jsonl"), queries, qrels, str(source), synthetic)


def _judgement_file(folder: Path, split: str) -> Path:
    """The file of a split in the folder of judgements, or the file that ``split`` names.

    Raises:
        InputError: There is none; the hint names the splits that there are.
    """
    if split.endswith((".tsv", ".tsv.gz")):
        return Path(split)
    if not _is_there(file := folder / f"{split}.tsv"):
        files = sorted((*folder.glob("*.tsv"), *folder.glob("*.tsv.gz")))[:SHOWN]
        known = [found.name.removesuffix(".gz").removesuffix(".tsv") for found in files]
        raise InputError(
            f"there is no file {str(file)!r}, plain or gzipped",
            hint=f"Give --split {either(known)}."
            if known
            else "Without judgements, a model can give grades: rerank-plugins judge --help.",
        )
    return file


def _is_there(path: Path) -> bool:
    return path.is_file() or path.with_name(f"{path.name}.gz").is_file()


def _checked(
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Qrels | None,
    name: str,
    synthetic: str = "",
) -> Collection:
    """The collection, whose queries all count where no judgements were asked for (None)."""
    judged: Qrels = {key: {} for key in queries} if qrels is None else qrels
    for what, found in (("documents", documents), ("queries", queries), ("judgements", judged)):
        if not found:
            raise InputError(f"the collection {name!r} has no {what}")
    if lost := [query for query in judged if query not in queries]:
        raise InputError(
            f"{len(lost)} judged queries of {name!r} have no text, among them {lost[0]!r}",
            hint="Are these the judgements of another collection?",
        )
    return Collection(
        documents=documents,
        queries={key: text for key, text in queries.items() if key in judged},
        qrels=judged,
        unjudged={key: text for key, text in queries.items() if key not in judged},
        synthetic=synthetic,
    )


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


def _judgements(path: Path) -> tuple[dict[str, dict[str, int]], str]:
    """Grades by query and document of a file, and what the header says of a model."""
    qrels: dict[str, dict[str, int]] = {}
    for number, line in lines_of(path):
        try:
            query, document, text = line.split("\t")
            grade = int(text)
        except ValueError as error:
            if number == 1:
                continue  # the header, which some files lack
            raise InputError(f"line {number} of {path} is not a judgement") from error
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InputError(
                f"line {number} of {path} judges {document!r} for the query {query!r} again, "
                "with another grade"
            )
    return qrels, synthetic_origin(path)


def synthetic_origin(path: Path) -> str:
    """The origin of the grades in a file of judgements, by its header; empty for people's.

    Raises:
        InputError: The file cannot be read.
    """
    header = next((line for _, line in lines_of(path)), "")
    return header.partition(SYNTHETIC)[2].strip()


def write_qrels(path: str | Path, qrels: Qrels, *, synthetic: str = "") -> None:
    r"""Write judgements as `load_collection` reads them, whole or not at all.

    Args:
        path: The file, ``qrels/SPLIT.tsv`` in a collection's folder.
        qrels: Grade by query id and document id.
        synthetic: Who gave the grades, where a model did: written into the header, from where it
            gets into `Collection.synthetic` and every report.

    Raises:
        InputError: An id or ``synthetic`` holds a tab or a line break, or the file cannot be
            written.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mktemp())
        >>> write_qrels(file, {"q": {"a": 2}}, synthetic="umbrela.v1 by a model")
        >>> file.read_text().splitlines()[0]
        'query-id\tcorpus-id\tscore\tsynthetic: umbrela.v1 by a model'
    """
    names = [synthetic, *qrels, *(document for grades in qrels.values() for document in grades)]
    if wrong := [name for name in names if name != " ".join(name.splitlines()).replace("\t", " ")]:
        raise InputError(f"judgements cannot hold {wrong[0]!r}: it has a tab or a line break")
    header = "query-id\tcorpus-id\tscore" + (f"{SYNTHETIC} {synthetic}" if synthetic else "")
    rows = (
        f"{query}\t{document}\t{grade}"
        for query, grades in qrels.items()
        for document, grade in grades.items()
    )
    write_lines(Path(path), chain([header], rows))


def _from_ir_datasets(name: str, *, judged: bool) -> Collection:
    ir_datasets = extra("ir_datasets", package="ir_datasets")
    try:
        dataset = ir_datasets.load(name)
    except KeyError as error:
        raise InputError(f"ir_datasets knows no {name!r}") from error
    try:
        qrels: dict[str, dict[str, int]] = {}
        for line in dataset.qrels_iter() if judged else ():
            qrels.setdefault(line.query_id, {})[line.doc_id] = line.relevance
        documents = _default_texts(dataset.docs_iter(), "doc_id")
        queries = _default_texts(dataset.queries_iter(), "query_id")
    except AttributeError as error:
        raise InputError(f"{name!r} has no documents, queries or judgements: {error}") from error
    return _checked(documents, queries, qrels if judged else None, IR_DATASETS + name)


def _default_texts(rows: Iterable[Any], key: str) -> dict[str, str]:
    return {getattr(row, key): row.default_text().strip() for row in rows}
