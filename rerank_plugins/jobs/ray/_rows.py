"""The input of a batch job: rows with a query and its passages, from files or a Ray dataset."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import InputError
from .. import parse_id

if TYPE_CHECKING:
    from ray.data import Dataset

RANGE_BYTES = 32 * 2**20
"""The part of a JSONL file that one task reads."""

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


class Source:
    """The rows of a dataset or of files. Each method makes a new, lazy dataset.

    Args:
        given: A Ray dataset, a ``.jsonl`` or ``.parquet`` file, or a folder of them.

    Raises:
        InputError: There is no such file, or it is of another kind.
    """

    def __init__(self, given: "Dataset | str | Path") -> None:
        self._paths: list[str] = []
        self._kind = "dataset"
        if not isinstance(given, str | Path):
            self._given = given
            return
        path = Path(given)
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES]
        else:
            files = [path] if path.is_file() else []
        kinds = {_SUFFIXES.get(file.suffix, "") for file in files}
        if len(kinds) != 1 or "" in kinds:
            raise InputError(
                f"{str(path)!r} cannot be the input of a batch job",
                hint="Give a .jsonl or .parquet file, or a folder that holds files of one kind.",
            )
        self._paths, self._kind = [str(file.absolute()) for file in files], kinds.pop()

    def ids(self) -> "Dataset":
        """A column ``query_id``, and ``problem`` for lines of a file that cannot be read.

        Raises:
            InputError: A column is missing.
        """
        rows = self.rows()
        if self._kind == "jsonl":
            return rows.select_columns(["query_id", "problem"])
        schema = rows.schema()  # None where there are no rows
        if schema is None:
            return rows
        names = set(schema.names)
        if not {"query_id", "query"} <= names or not {"passages", "candidates"} & names:
            raise InputError(
                f"the input has the columns {sorted(names)}",
                hint="It needs query_id, query, and passages or candidates.",
            )
        return rows.select_columns(["query_id"])

    def rows(self) -> "Dataset":
        """Every row, for `opened_row`.

        JSONL files are read by ranges of bytes, so memory does not grow with a file. Ray's own
        reader takes a whole file at once and guesses types: a query that looks like a date would
        become one.
        """
        if self._kind == "dataset":
            return self._given
        data = extra("ray.data", "ray")
        found: Dataset
        if self._kind == "parquet":
            found = data.read_parquet(self._paths)
            return found
        ranges = [
            {"path": path, "start": start}
            for path in self._paths
            for start in range(0, Path(path).stat().st_size, RANGE_BYTES)
        ]
        found = data.from_items(ranges).flat_map(_lines_of)
        return found


def opened_row(row: Mapping[str, Any]) -> Any:
    """The row for `parse_query`, parsed where it is still the line of a file."""
    return row if row.get("line") is None else json.loads(row["line"])


def _lines_of(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines that start within a range of a file."""
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
    """A line with its query id, or with the problem that it has."""
    problem: dict[str, Any] = {"query_id": None, "line": None}
    try:
        text = line.decode("utf-8")
        row = json.loads(text)
        if not isinstance(row, dict) or row.get("query_id") is None:
            return problem | {"problem": f"{name} has no query_id"}
        return {"query_id": parse_id(row["query_id"]), "line": text, "problem": None}
    except InputError as error:
        return problem | {"problem": f"{name}: {error}"}
    except (ValueError, RecursionError):
        return problem | {"problem": f"{name} is not JSON"}
