"""The input of a batch job: rows of a query and its passages, from files or a Ray dataset."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import InputError
from .._requests import parsed_id

if TYPE_CHECKING:
    from ray.data import Dataset

RANGE_BYTES = 32 * 2**20
"""How much of a JSONL file one task reads."""

DIGEST_BYTES = 16
"""A query id is remembered by so many bytes: enough for any number of them without a collision."""

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


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


def opened_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row itself, which a file's line holds as text."""
    if row.get("line") is None:
        return row
    found: dict[str, Any] = json.loads(row["line"])
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


def _line(line: bytes, name: str) -> dict[str, Any]:
    """A line with its query id; one that cannot be read names itself."""
    problem: dict[str, Any] = {"query_id": None, "line": None}
    try:
        text = line.decode("utf-8")
        row = json.loads(text)
        if not isinstance(row, dict) or row.get("query_id") is None:
            return problem | {"problem": f"{name} has no query_id"}
        return {"query_id": parsed_id(row["query_id"]), "line": text, "problem": None}
    except InputError as error:
        return problem | {"problem": f"{name}: {error}"}
    except (ValueError, RecursionError):
        return problem | {"problem": f"{name} is not JSON"}
