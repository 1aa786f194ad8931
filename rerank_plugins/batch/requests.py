"""The input of a batch job: rows of a query and its passages, from files or a Ray dataset."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.base import extra
from ..errors import InputError
from ..text import Passage

if TYPE_CHECKING:
    from ray.data import Dataset

RANGE_BYTES = 32 * 2**20
"""How much of a JSONL file one task reads."""

DIGEST_BYTES = 16
"""A query id is remembered by so many bytes: enough for any number of them without a collision."""

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@dataclass(frozen=True, slots=True)
class Query:
    """One query to rank.

    Attributes:
        query_id: Its id.
        text: What is asked.
        passages: Texts, best first as the retriever found them.
        ids: Of the passages; None where the row gave none.
    """

    query_id: str
    text: str
    passages: tuple[str, ...]
    ids: tuple[str, ...] | None


class Source:
    """Where the rows come from. Each method gives a new, lazy dataset.

    Args:
        given: A Ray dataset, a ``.jsonl`` or ``.parquet`` file, or a folder of them.

    Raises:
        InputError: There is no such file, or it is of another kind.
    """

    def __init__(self, given: "Dataset | str | Path") -> None:
        self._paths: list[str] = []
        self._kind = "dataset"
        if isinstance(given, str | Path):
            self._paths, self._kind = _files(Path(given))
        else:
            self._given = given

    def ids(self) -> "Dataset":
        """A column ``query_id``, and ``problem`` where a line of a file cannot be read."""
        if self._kind == "jsonl":
            return self._lines().select_columns(["query_id", "problem"])
        rows = self.rows()
        schema = rows.schema()  # None where there are no rows
        if schema is None:
            return rows
        _check_columns(schema.names)
        return rows.select_columns(["query_id"])

    def rows(self) -> "Dataset":
        """Every row, with ``query_id`` and what `parsed` needs."""
        if self._kind == "jsonl":
            return self._lines()
        if self._kind == "parquet":
            found: Dataset = extra("ray.data", "ray").read_parquet(self._paths)
            return found
        return self._given

    def _lines(self) -> "Dataset":
        """The lines of JSONL files, by ranges of bytes: memory does not grow with a file.

        Not Ray's own reader: that takes a whole file at once, and guesses types (a query that
        looks like a date would become one).
        """
        ranges = [
            {"path": path, "start": start}
            for path in self._paths
            for start in range(0, Path(path).stat().st_size, RANGE_BYTES)
        ]
        lines: Dataset = extra("ray.data", "ray").from_items(ranges).flat_map(_lines_of)
        return lines


def digest(query_id: str) -> bytes:
    """The id in `DIGEST_BYTES` bytes."""
    return hashlib.blake2b(
        query_id.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES
    ).digest()


def parsed(row: Mapping[str, Any]) -> Query:
    """The query of a row: ``{query_id, query, passages}`` or ``{query_id, query, candidates}``.

    Raises:
        InputError: A field is missing or of the wrong type, or ids of candidates repeat.

    Examples:
        >>> parsed({"query_id": 7, "query": "flea", "candidates": [{"id": "a", "text": "A flea"}]})
        Query(query_id='7', text='flea', passages=('A flea',), ids=('a',))
    """
    if row.get("line") is not None:
        row = json.loads(row["line"])
    query, passages, candidates = (row.get(key) for key in ("query", "passages", "candidates"))
    if not isinstance(query, str):
        raise InputError(f"query is of type {type(query).__name__}, expected a string")
    if (passages is None) == (candidates is None):
        raise InputError("a row needs either passages or candidates")
    if passages is not None:
        if not isinstance(passages, list) or not all(isinstance(p, str) for p in passages):
            raise InputError("passages is not a list of strings")
        return Query(str(row["query_id"]), query, tuple(passages), None)
    found = _candidates(candidates)
    ids = tuple(found)
    return Query(str(row["query_id"]), query, tuple(found.values()), ids)


def _candidates(given: object) -> dict[str, Passage]:
    """Passages by their ids, in order."""
    found: dict[str, Passage] = {}
    if not isinstance(given, list):
        raise InputError("candidates is not a list")
    for i, candidate in enumerate(given):
        if not isinstance(candidate, Mapping) or candidate.get("id") is None:
            raise InputError(f"candidates[{i}] has no id")
        if not isinstance(candidate.get("text"), str):
            raise InputError(f"candidates[{i}] has no text")
        key = _id(candidate["id"])
        if key in found:
            raise InputError(f"the candidate id {key!r} is given twice")
        found[key] = Passage(candidate["text"], title=str(candidate.get("title") or ""))
    return found


def _files(path: Path) -> tuple[list[str], str]:
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES]
    else:
        files = [path] if path.is_file() else []
    kinds = {_SUFFIXES.get(file.suffix, "") for file in files}
    if len(kinds) != 1 or "" in kinds:
        raise InputError(
            f"{str(path)!r} is no input for a batch job",
            hint="Give a .jsonl or .parquet file, or a folder that holds files of one of the two.",
        )
    return [str(file.absolute()) for file in files], kinds.pop()


def _check_columns(names: Sequence[str]) -> None:
    complete = {"query_id", "query"} <= set(names) and {"passages", "candidates"} & set(names)
    if not complete:
        raise InputError(
            f"the input has the columns {sorted(names)}",
            hint="It needs query_id, query, and passages or candidates.",
        )


def _lines_of(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines that begin within a range of a file."""
    with Path(part["path"]).open("rb") as file:
        if part["start"]:
            file.seek(part["start"] - 1)
            file.readline()  # the rest of a line that another task reads
        while (where := file.tell()) < part["start"] + RANGE_BYTES:
            line = file.readline()
            if not line:
                return
            if line.strip():
                yield _line(line, f"the line at byte {where} of {part['path']}")


def _id(value: object) -> str:
    """An id as text that can be written to a file."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"an id is of type {type(value).__name__}, expected a string")
    text = str(value)
    if text != text.encode("utf-8", "replace").decode():
        raise InputError(f"the id {text!r} is not valid Unicode")
    return text


def _line(line: bytes, name: str) -> dict[str, Any]:
    """A line with its query id; one that cannot be read names itself."""
    problem: dict[str, Any] = {"query_id": None, "line": None}
    try:
        text = line.decode("utf-8")
        row = json.loads(text)
        if not isinstance(row, dict) or row.get("query_id") is None:
            return problem | {"problem": f"{name} has no query_id"}
        return {"query_id": _id(row["query_id"]), "line": text, "problem": None}
    except InputError as error:
        return problem | {"problem": f"{name}: {error}"}
    except (ValueError, RecursionError):
        return problem | {"problem": f"{name} is not JSON"}
