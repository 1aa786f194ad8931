"""The output of a batch job: a folder of Parquet parts, each whole or not there at all.

One process writes, and it holds the folder's lock. A part is written beside its place and moved
there in one step, so whatever kills the job leaves whole parts, and what they hold is finished.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import InputError
from ...evaluation._runs import run_lines
from ...ranking import Ranking, Report, Usage

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
MANIFEST = "manifest.json"
_FORMAT = "rerank-plugins batch"
_LOCK, _DRAFT = ".lock", ".draft"


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
    """What a batch job wrote, one query after the other, in no particular order.

    Every query that is finished is there once. A job that still runs, or was killed, can be read.

    Args:
        folder: The job's output.

    Raises:
        InputError: The folder is not the output of a batch job.
    """
    root = Path(folder)
    read_manifest(root)
    for path in parts(root):
        for batch in _parquet().ParquetFile(path).iter_batches(batch_size=256):
            yield from map(_ranked, batch.to_pylist())


def write_run(folder: str | Path, path: str | Path, *, tag: str = "rerank-plugins") -> None:
    """Write the rankings of a batch job as a TREC run.

    Args:
        folder: The job's output.
        path: The file: ``query Q0 document rank score tag``. Failed queries have no lines;
            passages without ids go by their positions.
        tag: The run's name.

    Raises:
        InputError: An id holds white space, which the format cannot express.
    """
    try:
        with Path(path).open("w", encoding="utf-8") as file:
            for query in read_rankings(folder):
                file.writelines(f"{line}\n" for line in _run_lines(query, tag))
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error}") from error


def parts(folder: Path) -> list[Path]:
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
    """Writes rows into parts. Rows wait in memory until there are enough for one.

    Args:
        folder: Where to.
        size: Rows of a part.
        patience_s: After so many seconds a part is written, however few rows it has.
        clock: Tells the seconds.
    """

    def __init__(
        self, folder: Path, size: int, patience_s: float, clock: Callable[[], float]
    ) -> None:
        self._folder, self._size, self._patience_s, self._clock = folder, size, patience_s, clock
        self._waiting: list[Mapping[str, Any]] = []
        numbers = [int(path.stem.removeprefix("part-")) for path in parts(folder)]
        self._next = 1 + max(numbers, default=0)
        self._since = clock()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows, and write a part where it is time."""
        self._waiting += rows
        if len(self._waiting) >= self._size or self._clock() - self._since >= self._patience_s:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            table = extra("pyarrow", "ray").Table.from_pylist(self._waiting, schema=schema())
            _write(table, self._folder / f"part-{self._next:08}.parquet")
            self._next += 1
            self._waiting = []
        self._since = self._clock()


def finished(folder: Path, column: Callable[[Sequence[str]], Any]) -> Iterator[Any]:
    """What ``column`` makes of the query ids of each part."""
    for path in parts(folder):
        yield column(_parquet().read_table(path, columns=["query_id"])["query_id"].to_pylist())


def drop_failed(folder: Path) -> None:
    """Take failed queries out of the parts, so that they are not finished any more."""
    compute = extra("pyarrow.compute", "ray")
    for path in parts(folder):
        table = _parquet().read_table(path, schema=schema())
        kept = table.filter(compute.is_null(table["error"]))
        if len(kept) < len(table):
            _write(kept, path)


@contextmanager
def opened(folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Take the folder for a job with these settings: a new one, or one that is resumed.

    Raises:
        InputError: It holds something else or the output of other settings, cannot be written,
            or another job has it.
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
        _claim(folder, settings)
        yield
    finally:
        lock.release()


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of a job's output.

    Raises:
        InputError: There is none, or it is damaged or of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{str(folder)!r} is not the output of a batch job: it has no {MANIFEST}")
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise InputError(f"{str(path)!r} is not the manifest of a batch job")
    if found.get("version") != VERSION:
        raise InputError(
            f"{str(path)!r} is of version {found.get('version')!r}, not {VERSION}",
            hint="Read it with the version of this library that wrote it.",
        )
    return found


def _claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check or write the manifest; remove what a killed job left half-written."""
    settings = json.loads(json.dumps(settings))
    if (folder / MANIFEST).exists():
        known = read_manifest(folder).get("settings", {})
        keys = sorted(k for k in {*known, *settings} if known.get(k) != settings.get(k))
        if keys:
            raise InputError(
                f"{str(folder)!r} was begun with another {' and '.join(keys)}",
                hint=f"Give a new folder, or the settings that its {MANIFEST} names.",
            )
    elif any(path.name != _LOCK and path.suffix != _DRAFT for path in folder.iterdir()):
        raise InputError(
            f"{str(folder)!r} holds something else", hint="Give a new or an empty folder."
        )
    else:
        text = json.dumps({"format": _FORMAT, "version": VERSION, "settings": settings}, indent=1)
        _replace(folder / MANIFEST, lambda draft: draft.write_text(text, "utf-8"))
    for draft in folder.glob(f"*{_DRAFT}"):
        draft.unlink()


def _write(table: "pyarrow.Table", path: Path) -> None:
    _replace(path, lambda draft: _parquet().write_table(table, draft))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file in one step, on the disk when this returns."""
    draft = path.with_name(path.name + _DRAFT)
    write(draft)
    _sync(draft, os.O_RDWR)
    draft.replace(path)
    _sync(path.parent, os.O_RDONLY)  # the folder holds the new name


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _ranked(row: Mapping[str, Any]) -> RankedQuery:
    ids = None if row["ids"] is None else tuple(row["ids"])
    if row["error"] is not None:
        return RankedQuery(row["query_id"], None, ids, row["error"])
    usage = Usage(**row["usage"])
    report = Report(**{k: type(getattr(Report(), k))(v) for k, v in row["report"].items()})
    scores = tuple(row["scores"])
    ranking = Ranking(tuple(row["order"]), scores, row["score_kind"], usage, report)
    return RankedQuery(row["query_id"], ranking, ids, None)


def _run_lines(query: RankedQuery, tag: str) -> Iterator[str]:
    if query.ranking is None:
        return
    ids = query.ids or tuple(map(str, query.ranking.order))
    yield from run_lines(query.query_id, ids, query.ranking.scores, tag)


def _parquet() -> Any:
    return extra("pyarrow.parquet", "ray")
