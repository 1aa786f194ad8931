"""Rank queries one batch after the other into a file, or go on where that was interrupted.

A batch is the unit: it is written in one piece, and one that is not whole is ranked again from its
beginning. So a file that was interrupted ends up with the same bytes as one that was not, although
a model's scores depend, in their last digits, on what shares a batch.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

from ..errors import CallError, InputError
from ..ranking import Ranking, Usage
from ..reranker import Reranker
from ._formats import Format
from ._manifest import Manifest, check_same, described, manifest_path, read_manifest
from ._requests import Query

Progress = Callable[[int], None]
Batch = Sequence[Query]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a call did.

    Attributes:
        ranked: Queries that it ranked.
        skipped: Queries that an earlier one had ranked.
        fallbacks: Ranked queries whose order is, in part, the input's because something failed.
        usage: What they cost together; the seconds are those of the clock.
    """

    ranked: int = 0
    skipped: int = 0
    fallbacks: int = 0
    usage: Usage = field(default_factory=Usage)

    def __add__(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            self.ranked + other.ranked,
            self.skipped + other.skipped,
            self.fallbacks + other.fallbacks,
            self.usage + other.usage,
        )


def rank_file(
    requests: Iterable[Query],
    reranker: Reranker,
    path: str | Path,
    form: Format,
    *,
    top_k: int | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
) -> Counts:
    """Rank queries into a file, or go on with one that an earlier call left unfinished.

    Memory does not grow with the number of queries. Beside the file is a manifest: what made it,
    and what it cost. Killed and called again with the same arguments, it ranks what is missing, and
    the file is the one that it would have been.

    Args:
        requests: The queries, in the same order each time.
        reranker: What ranks.
        path: The file.
        form: `Trec` or `Jsonl`.
        top_k: Positions of each ranking; all when None.
        batch_size: Queries ranked together.
        progress: Is told how many queries each batch finished.

    Raises:
        InputError: An argument is out of range; the file was begun by something else, or with
            another reranker or other requests; or it cannot be written. What was finished is kept.
        CallError: A call failed and the reranker's ``on_error`` is ``"raise"``. What was
            finished is kept.
    """
    file = Path(path)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, expected at least 1")
    settings = {"format": repr(form), "top_k": top_k, "batch_size": batch_size}
    manifest = _claimed(file, described(reranker, settings))
    tell = progress or _silent
    batches = _batches(requests, batch_size)
    total = Counts()
    try:
        with file.open("r+b" if file.exists() else "w+b") as out:
            _lock(out, file)
            found, waiting = _finished(batches, out, form, top_k, file)
            tell(found)
            total += Counts(skipped=found)
            for batch in _chained(waiting, batches):
                done = _ranked_into(out, batch, reranker, form, top_k)
                manifest = manifest.with_cost(done.ranked, done.fallbacks, done.usage)
                manifest.write(manifest_path(file))
                total += done
                tell(done.ranked)
            replace(manifest, finished=True).write(manifest_path(file))
    except OSError as error:
        raise InputError(
            f"cannot write {str(file)!r}: {error}",
            hint="What was finished is kept: the same command goes on from there.",
        ) from error
    return total


def ranked(
    requests: Iterable[Query],
    reranker: Reranker,
    out: IO[str],
    form: Format,
    *,
    top_k: int | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
) -> Counts:
    """`rank_file` into an open text stream, which can not be gone on with."""
    tell = progress or _silent
    total = Counts()
    for batch in _batches(requests, batch_size):
        lines, done, failure = _outcome(batch, reranker, form, top_k)
        out.write(lines)
        out.flush()
        if failure:
            raise failure
        total += done
        tell(done.ranked)
    return total


def _ranked_into(
    out: BinaryIO, batch: Batch, reranker: Reranker, form: Format, top_k: int | None
) -> Counts:
    lines, counts, failure = _outcome(batch, reranker, form, top_k)
    out.write(lines.encode())
    out.flush()
    if failure:
        raise failure
    return counts


def _outcome(
    batch: Batch, reranker: Reranker, form: Format, top_k: int | None
) -> tuple[str, Counts, CallError | None]:
    """The lines of a batch up to its first failure, what it cost, and that failure."""
    began = time.perf_counter()
    results = reranker.settle_many([(q.text, q.passages) for q in batch], top_k=top_k)
    seconds = time.perf_counter() - began
    failure = next((r for r in results if isinstance(r, CallError)), None)
    rankings: list[Ranking] = []
    for result in results:
        if not isinstance(result, Ranking):
            break
        rankings.append(result)
    lines = [
        line + "\n"
        for query, ranking in zip(batch, rankings, strict=False)
        for line in form.lines(query, ranking)
    ]
    usage = sum((r.usage for r in rankings), Usage())
    counts = Counts(
        ranked=len(rankings),
        fallbacks=sum(r.report.fallback for r in rankings),
        usage=replace(usage, seconds=seconds),
    )
    return "".join(lines), counts, failure


def _finished(
    batches: Iterator[Batch], out: BinaryIO, form: Format, top_k: int | None, path: Path
) -> tuple[int, Batch | None]:
    """How many queries the file has in whole batches, and the batch that comes next.

    What the file holds of that one is cut off.
    """
    found = 0
    for batch in batches:
        start = out.tell()
        if not _has(batch, out, form, top_k, path):
            out.seek(start)
            out.truncate()
            return found, batch
        found += len(batch)
    if out.readline():
        raise _foreign(path)
    return found, None


def _has(batch: Batch, out: BinaryIO, form: Format, top_k: int | None, path: Path) -> bool:
    for query in batch:
        lines = [out.readline() for _ in range(form.count(query, top_k))]
        if not all(line.endswith(b"\n") for line in lines):
            return False
        if not form.same(query, [line.decode("utf-8", "replace") for line in lines]):
            raise _foreign(path)
    return True


def _foreign(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r} has rankings of other requests than these",
        hint="Give a new file, or the requests that it was begun with.",
    )


def _claimed(path: Path, manifest: Manifest) -> Manifest:
    """The manifest to go on with."""
    beside = manifest_path(path)
    if not beside.exists():
        if path.exists() and path.stat().st_size:
            raise InputError(
                f"{str(path)!r} is there already, and has no manifest to go on from",
                hint="Give a new file, or remove it.",
            )
    elif path.exists():
        known = read_manifest(path)
        check_same(known, manifest, path)
        return known
    try:
        manifest.write(beside)
    except OSError as error:
        raise InputError(f"cannot write {str(beside)!r}: {error}") from error
    return manifest


def _batches(requests: Iterable[Query], size: int) -> Iterator[Batch]:
    rows = iter(requests)
    while batch := list(islice(rows, size)):
        yield batch


def _chained(first: Batch | None, rest: Iterator[Batch]) -> Iterator[Batch]:
    if first is not None:
        yield first
    yield from rest


def _lock(file: BinaryIO, path: Path) -> None:
    """Refuse a file that another process writes, where the system can tell."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another process is writing {str(path)!r}") from error


def _silent(_: int) -> None:
    pass
