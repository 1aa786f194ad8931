"""Rank queries batch by batch into a file, and resume it after an interruption.

A batch is written in one piece, and one that is not whole is ranked again from its start. So a
file that was interrupted ends up with the same bytes as one that was not, although a model's scores
depend, in their last digits, on the other passages of a batch.
"""

import glob
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, BinaryIO

from .._checks import at_least
from .._files import DRAFT
from .._loading import watch_loading
from ..errors import CallError, InputError
from ..ranking import Cut, Ranking, Usage
from ..reranker import Reranker
from ._formats import Format, Trec
from ._manifest import claim_file, manifest_of, manifest_path
from ._requests import Query

Progress = Callable[[int], None]
Batch = Sequence[Query]


@dataclass(frozen=True, slots=True)
class FileCounts:
    """The result of `rank_file` or `rank_stream`.

    Attributes:
        ranked: Queries that this call ranked.
        skipped: Queries that an earlier call had ranked.
        fallbacks: Ranked queries whose order is, in part, the input's because something failed.
        usage: What they cost together; the seconds are wall-clock time, those of loading apart.
    """

    ranked: int = 0
    skipped: int = 0
    fallbacks: int = 0
    usage: Usage = field(default_factory=Usage)

    def __add__(self, other: "FileCounts") -> "FileCounts":
        """Both together."""
        return FileCounts(*(getattr(self, n) + getattr(other, n) for n in self.__slots__))


def rank_file(
    requests: Iterable[Query],
    reranker: Reranker,
    path: str | Path,
    form: Format,
    *,
    top_k: int | None = None,
    cut: Cut | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
) -> FileCounts:
    """Rank queries into a file, or resume one that an earlier call left unfinished.

    Memory does not grow with the number of queries. A manifest beside the file says what made it
    and what it cost. Killed and called again with the same arguments, this ranks what is missing,
    and the file gets the bytes that it would have had.

    Args:
        requests: The queries, in the same order each time.
        reranker: The reranker.
        path: The file.
        form: `Trec` or `Jsonl`.
        top_k: Positions of each ranking; all when None.
        cut: Where each ranking ends by its scores, before ``top_k``.
        batch_size: Queries ranked together.
        progress: Called with the number of queries that each batch finished.

    Raises:
        InputError: An argument is out of range; the file was written by something else, or with
            another reranker or other requests; or it cannot be written. Finished queries are kept.
        CallError: A call failed and the reranker's ``on_error`` is ``"raise"``. Finished queries
            are kept.
    """
    at_least(1, batch_size=batch_size)
    at_least(1, none=True, top_k=top_k)
    file, beside = Path(path), manifest_path(Path(path))
    if cut is not None and isinstance(form, Trec):
        raise InputError(
            "a TREC run with cut rankings could not be resumed: their lengths are not known",
            hint="Write JSON Lines (a file that ends in .jsonl), or give no cut.",
        )
    settings: dict[str, Any] = {"format": repr(form), "top_k": top_k, "batch_size": batch_size}
    if cut is not None:
        settings["cut"] = asdict(cut)
    manifest = claim_file(file, manifest_of(reranker, settings))
    batches = _batches(requests, batch_size)
    try:
        with file.open("r+b" if file.exists() else "w+b") as out:
            _lock(out, file)
            for draft in file.parent.glob(f"{glob.escape(beside.name)}*{DRAFT}"):
                draft.unlink(missing_ok=True)  # of a process that was killed
            skipped, unfinished = _skip_finished(batches, out, form, top_k, file)
            if progress:
                progress(skipped)
            total = FileCounts(skipped=skipped)
            text = TextIOWrapper(out, encoding="utf-8", newline="\n")
            for counts in _rank(chain(unfinished, batches), reranker, text, form, top_k, cut):
                manifest = manifest.with_cost(counts.ranked, counts.fallbacks, counts.usage)
                manifest.write(beside)
                total += counts
                if progress:
                    progress(counts.ranked)
            replace(manifest, finished=True).write(beside)
    except OSError as error:
        raise InputError(
            f"cannot write {str(file)!r}: {error}",
            hint="Finished queries are kept: run the same again to resume.",
        ) from error
    return total


def rank_stream(
    requests: Iterable[Query],
    reranker: Reranker,
    out: IO[str],
    form: Format,
    *,
    top_k: int | None = None,
    cut: Cut | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
) -> FileCounts:
    """Rank queries into an open text stream, which cannot be resumed.

    Args:
        requests: The queries.
        reranker: The reranker.
        out: The stream.
        form: `Trec` or `Jsonl`.
        top_k: Positions of each ranking; all when None.
        cut: Where each ranking ends by its scores, before ``top_k``.
        batch_size: Queries ranked together.
        progress: Called with the number of queries that each batch finished.

    Raises:
        InputError: An argument is out of range.
        CallError: A call failed and the reranker's ``on_error`` is ``"raise"``. The queries before
            it are written.
    """
    at_least(1, batch_size=batch_size)
    at_least(1, none=True, top_k=top_k)
    total = FileCounts()
    for counts in _rank(_batches(requests, batch_size), reranker, out, form, top_k, cut):
        total += counts
        if progress:
            progress(counts.ranked)
    return total


def _rank(
    batches: Iterable[Batch],
    reranker: Reranker,
    out: IO[str],
    form: Format,
    top_k: int | None,
    cut: Cut | None,
) -> Iterator[FileCounts]:
    """Rank and write each batch up to its first failure, and yield what it cost.

    Raises:
        CallError: The failure, after what precedes it is written.
    """
    for batch in batches:
        started = time.perf_counter()
        with watch_loading() as watch:
            results = reranker.settle_many([query.request for query in batch])
        loading = watch.seconds
        seconds = time.perf_counter() - started - loading
        failure = next((result for result in results if isinstance(result, CallError)), None)
        rankings: list[Ranking] = []
        lines: list[str] = []
        for query, result in zip(batch, results, strict=True):
            if isinstance(result, CallError):
                break
            rankings.append(result)
            lines += form.lines(query, (result if cut is None else cut.of(result)).top(top_k))
        out.write("".join(f"{line}\n" for line in lines))
        out.flush()
        if failure:
            raise failure
        yield FileCounts(
            ranked=len(rankings),
            fallbacks=sum(ranking.report.fallback for ranking in rankings),
            usage=replace(
                sum((r.usage for r in rankings), Usage()), seconds=seconds, loading_seconds=loading
            ),
        )


def _skip_finished(
    batches: Iterator[Batch], out: BinaryIO, form: Format, top_k: int | None, path: Path
) -> tuple[int, list[Batch]]:
    """The number of queries in whole batches of the file, and the batch that is not whole, if any.

    The part of that batch that is in the file is cut off.
    """
    found = 0
    for batch in batches:
        start = out.tell()
        for query in batch:
            lines = [out.readline() for _ in range(form.count(query, top_k))]
            if not all(line.endswith(b"\n") for line in lines):
                out.seek(start)
                out.truncate()
                return found, [batch]
            if not form.same(query, [line.decode("utf-8", "replace") for line in lines]):
                raise _foreign(path)
        found += len(batch)
    if out.readline():
        raise _foreign(path)
    return found, []


def _foreign(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r} has rankings of other requests than these",
        hint="Give a new file, or the requests that it was started with.",
    )


def _batches(requests: Iterable[Query], size: int) -> Iterator[Batch]:
    rows = iter(requests)
    while batch := list(islice(rows, size)):
        yield batch


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock the file, where the system has such locks.

    Raises:
        InputError: Another process writes it.
    """
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another process is writing {str(path)!r}") from error
