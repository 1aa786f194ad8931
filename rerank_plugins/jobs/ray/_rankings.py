"""The output of a batch job: a folder of Parquet parts, each whole or not there at all.

One process writes, and it holds the folder's lock. Whatever kills the job leaves whole parts, and
the queries in them are finished.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ..._files import DRAFT, Stamp, replacing, write_lines
from ...errors import InputError
from ...evaluation import run_lines
from ...ranking import Ranking, Report, Usage

if TYPE_CHECKING:
    import pyarrow

MANIFEST = "manifest.json"
_LOCK = ".lock"
_STAMP = Stamp("rerank-plugins batch", 1)


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """One query of the output.

    Attributes:
        query_id: As in the input.
        ranking: Its ranking; None where it failed.
        ids: The candidates' ids, best first; None where the input gave passages without ids.
        error: Why it failed; None where it did not.
    """

    query_id: str
    ranking: Ranking | None
    ids: tuple[str, ...] | None
    error: str | None


def read_rankings(folder: str | Path) -> Iterator[RankedQuery]:
    """Read the output of a batch job query by query, in no particular order.

    Every finished query is there once. A job that still runs, or was killed, can be read.

    Args:
        folder: The job's output.

    Raises:
        InputError: The folder is not the output of a batch job.
    """
    root = Path(folder)
    _read_manifest(root)
    for path in part_files(root):
        for batch in _parquet().ParquetFile(path).iter_batches(batch_size=256):
            yield from map(_ranked_query, batch.to_pylist())


def write_run(folder: str | Path, path: str | Path, *, tag: str = "rerank-plugins") -> None:
    """Write the rankings of a batch job as a TREC run, whole or not at all.

    Args:
        folder: The job's output.
        path: The file: ``query Q0 document rank score tag``. Failed queries have no lines;
            passages without ids are named by their positions.
        tag: The run's name.

    Raises:
        InputError: An id holds white space, which the format cannot express, or the file cannot
            be written.
    """
    rankings = ((q, q.ranking) for q in read_rankings(folder) if q.ranking is not None)
    lines = (
        run_lines(query.query_id, query.ids or [*map(str, ranking.order)], ranking.scores, tag)
        for query, ranking in rankings
    )
    write_lines(Path(path), (line for some in lines for line in some))


def part_files(folder: Path) -> list[Path]:
    """The finished parts, oldest first."""
    return sorted(folder.glob("part-*.parquet"))


def schema() -> "pyarrow.Schema":
    """The columns of a part."""
    pa = extra("pyarrow", "ray")
    kinds = {
        int: pa.int64(),
        float: pa.float64(),
        tuple: pa.list_(pa.string()),
        frozenset: pa.list_(pa.int64()),
    }
    usage = [(name, kinds[type(value)]) for name, value in asdict(Usage()).items()]
    report = [(name, kinds[type(value)]) for name, value in asdict(Report()).items()]
    return pa.schema(
        [
            ("query_id", pa.string()),
            ("order", pa.list_(pa.int64())),
            ("ids", pa.list_(pa.string())),
            ("scores", pa.list_(pa.float64())),
            ("score_kind", pa.string()),
            ("usage", pa.struct(usage)),
            ("report", pa.struct(report)),
            ("error", pa.string()),
        ]
    )


class Parts:
    """Writes rows into parts. Rows are held in memory until there are enough for one.

    Args:
        folder: The job's output.
        size: Rows of a part.
        patience_s: After so many seconds a part is written, however few rows it has.
        clock: Tells the seconds.
    """

    def __init__(
        self, folder: Path, size: int, patience_s: float, clock: Callable[[], float]
    ) -> None:
        self._folder, self._size, self._patience_s, self._clock = folder, size, patience_s, clock
        self._waiting: list[Mapping[str, Any]] = []
        numbers = [int(path.stem.removeprefix("part-")) for path in part_files(folder)]
        self._next = 1 + max(numbers, default=0)
        self._since = clock()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows, and write a part if there are enough or it is time."""
        self._waiting += rows
        if len(self._waiting) >= self._size or self._clock() - self._since >= self._patience_s:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._waiting:
            table = extra("pyarrow", "ray").Table.from_pylist(self._waiting, schema=schema())
            _write_part(table, self._folder / f"part-{self._next:08}.parquet")
            self._next += 1
            self._waiting = []
        self._since = self._clock()


def finished_ids(folder: Path) -> Iterator[list[str]]:
    """The query ids of each part."""
    for path in part_files(folder):
        yield _parquet().read_table(path, columns=["query_id"])["query_id"].to_pylist()


def drop_failed(folder: Path) -> None:
    """Remove failed queries from the parts, so that they are ranked again."""
    compute = extra("pyarrow.compute", "ray")
    for path in part_files(folder):
        table = _parquet().read_table(path, schema=schema())
        kept = table.filter(compute.is_null(table["error"]))
        if len(kept) < len(table):
            _write_part(kept, path)


@contextmanager
def claimed_folder(folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Hold the output folder of a job with these settings: a new one, or one that is resumed.

    What a killed job left half-written is removed.

    Raises:
        InputError: It holds something else or the output of other settings, cannot be written,
            or another job holds it.
    """
    filelock = extra("filelock", "ray")
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(f"another job is writing to {str(folder)!r}") from error
    except OSError as error:
        raise InputError(f"cannot write to {str(folder)!r}: {error}") from error
    try:
        _check_settings(folder, json.loads(json.dumps(settings)))
        for draft in folder.glob(f"*{DRAFT}"):
            draft.unlink()
        yield
    finally:
        lock.release()


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Compare the settings with those of the manifest, or write the manifest of a new folder."""
    if (folder / MANIFEST).exists():
        known = _read_manifest(folder)["settings"]
        names = sorted(k for k in {*known, *settings} if known.get(k) != settings.get(k))
        if names:
            raise InputError(
                f"{str(folder)!r} was started with another {' and '.join(names)}",
                hint=f"Give a new folder, or the settings that its {MANIFEST} names.",
            )
    elif any(path.name != _LOCK and path.suffix != DRAFT for path in folder.iterdir()):
        raise InputError(
            f"{str(folder)!r} holds something else", hint="Give a new or an empty folder."
        )
    else:
        _STAMP.write(folder / MANIFEST, {"settings": settings})


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{str(folder)!r} is not the output of a batch job: it has no {MANIFEST}")
    return _STAMP.read(folder / MANIFEST, settings=dict)


def _write_part(table: "pyarrow.Table", path: Path) -> None:
    with replacing(path) as file:
        _parquet().write_table(table, file)


def _ranked_query(row: Mapping[str, Any]) -> RankedQuery:
    ids = None if row["ids"] is None else tuple(row["ids"])
    if row["error"] is not None:
        return RankedQuery(row["query_id"], None, ids, row["error"])
    ranking = Ranking(
        tuple(row["order"]),
        tuple(row["scores"]),
        row["score_kind"],
        Usage(**_given(row["usage"])),
        Report.from_plain(_given(row["report"])),
    )
    return RankedQuery(row["query_id"], ranking, ids, None)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row; a part that an earlier version wrote has none for later names."""
    return {name: value for name, value in values.items() if value is not None}


def _parquet() -> Any:
    return extra("pyarrow.parquet", "ray")
