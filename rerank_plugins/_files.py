"""Files: read line by line, written whole or not at all, with a format and a version inside."""

import glob
import gzip
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from .errors import InputError


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, each with its number from 1.

    A byte order mark, with which some editors begin a file, is left out.

    Args:
        path: The file. Where it does not exist, the file with ``.gz`` after this name is read.

    Raises:
        InputError: Neither file exists, it cannot be read, or it is not UTF-8 or not valid gzip.
    """
    number, found = 0, _found(path)
    opened = gzip.open if found.suffix == ".gz" else open
    try:
        with cast(TextIO, opened(found, "rt", encoding="utf-8-sig")) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise InputError(f"{found} is not UTF-8 after line {number}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{found} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {found}: {error}") from error


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file, each with the number of its line.

    Raises:
        InputError: The file cannot be read (see `lines_of`), or a line is not a JSON object: the
            message has its number.
    """
    for number, line in lines_of(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {path} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"line {number} of {path} is not a JSON object")
        yield number, row


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write a text file whole or not at all, compressed where its name ends in ``.gz``.

    The lines may be read from the old file: it stays in place until the last line is written.
    Equal lines give equal bytes, compressed or not.

    Args:
        path: The file.
        lines: The lines, without line ends.

    Returns:
        The number of lines.

    Raises:
        InputError: The file cannot be written, or a line has half of a surrogate pair.
    """
    count = 0
    with replacing(path) as raw, _packed(raw) if path.suffix == ".gz" else nullcontext(raw) as file:
        for line in lines:
            try:
                file.write(f"{line}\n".encode())
            except UnicodeEncodeError as error:
                raise InputError(f"line {count + 1} of {path} is not valid Unicode") from error
            count += 1
    return count


DRAFT = ".draft"
"""The end of the name under which `replacing` writes a file; a killed process may leave one."""

HEX = "[0-9a-f]" * 32
"""The pattern of the random part of a draft's name."""
ABANDONED_S = 24 * 3600.0
"""Seconds without a change after which a draft counts as that of a killed process."""

_STREAMS = (Path("/dev"), Path("/dev/fd"))
"""Folders of names such as ``/dev/stdout``, which links to the file that it is redirected to."""


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file whole or not at all: it replaces the old one when the block ends.

    The draft lies beside the file. It is created exclusively: no existing file is overwritten and
    no link in its place is followed. An exception in the block keeps the old file and removes the
    draft; that of a killed process is removed by a durable write a day later. The new file has the
    old one's permissions. Pipes and devices, such as ``/dev/stdout``, are written directly.

    Args:
        path: The file; its folder exists.
        durable: Sync the file and its folder to the disk, so that they survive a power loss.
            False saves some milliseconds, for files that are written many times a second.

    Raises:
        InputError: The file cannot be written; its cause is the `OSError`.
    """
    if not path.name:
        raise InputError(f"cannot write {str(path)!r}: it is a folder")
    if "\0" in str(path):
        raise InputError(f"cannot write {str(path)!r}: the name has a null character")
    try:
        if path.parent in _STREAMS or (path.exists() and not path.is_file()):
            with path.open("wb") as file:
                yield file
            return
        path = path.resolve()  # the file that a link names, as when it is opened
        draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}{DRAFT}")
        file = draft.open("xb")
        try:
            with file:
                if path.exists():
                    draft.chmod(stat.S_IMODE(path.stat().st_mode))
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            draft.replace(path)
            if durable:
                _sync_folder(path.parent)
                remove_abandoned(path.parent, f"{glob.escape(path.name)}.{HEX}{DRAFT}")
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error}") from error


def remove_abandoned(folder: Path, pattern: str, *, kept: Collection[str] = ()) -> None:
    """Remove drafts, files or folders, in which nothing was changed for a day.

    Args:
        folder: Where they are.
        pattern: Their names, for `Path.glob`.
        kept: Names that stay.
    """
    for left in folder.glob(pattern):
        with suppress(OSError):
            newest = max(path.lstat().st_mtime for path in (left, *left.glob("*")))
            if left.name in kept or time.time() - newest < ABANDONED_S:
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()


@dataclass(frozen=True, slots=True)
class Stamp:
    """The format and the version that a JSON file of this library states beside its values.

    Args:
        format: The kind of file, such as ``"rerank-plugins index"``.
        version: The version of its layout. Files of other versions are refused.
    """

    format: str
    version: int

    def write(self, path: Path, values: Mapping[str, Any], *, durable: bool = True) -> None:
        """Write values with this stamp, whole or not at all (see `replacing`).

        Raises:
            InputError: The file cannot be written.
        """
        stamped = {"format": self.format, "version": self.version, **values}
        with replacing(path, durable=durable) as file:
            file.write(f"{json.dumps(stamped, indent=1, ensure_ascii=False)}\n".encode())

    def read(self, path: Path, **required: type) -> dict[str, Any]:
        """Read the values of a file with this stamp; the stamp itself is left out.

        Args:
            path: The file.
            **required: Values that must be there, each with its type.

        Raises:
            InputError: The file does not exist, cannot be read, is damaged or incomplete, or is of
                another format or version.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {str(path)!r}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{str(path)!r} is damaged: {error}") from error
        if not isinstance(found, dict) or found.pop("format", None) != self.format:
            raise InputError(f"{str(path)!r} is not a file of the format {self.format!r}")
        if (version := found.pop("version", None)) != self.version:
            raise InputError(
                f"{str(path)!r} is of version {version!r}, expected {self.version}",
                hint="Read it with the version of rerank-plugins that wrote it, or make it again.",
            )
        for name, kind in required.items():
            if not isinstance(found.get(name), kind):
                raise InputError(f"{str(path)!r} is damaged: it has no {name}, or a wrong one")
        return found


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_files(folder: Path) -> None:
    """Sync the files of a folder to the disk, for files that others wrote."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, where the system can open folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _packed(raw: BinaryIO) -> BinaryIO:
    """Compress into a file, with no name and no time in the header: equal text, equal bytes."""
    return cast(BinaryIO, gzip.GzipFile("", "wb", fileobj=raw, mtime=0))


def _found(path: Path) -> Path:
    """The file, or the one with ``.gz`` after its name where only that exists.

    Raises:
        InputError: Neither exists.
    """
    try:
        for candidate in (path, path.with_name(path.name + ".gz")):
            if candidate.is_file():
                return candidate
    except (OSError, ValueError) as error:  # a name that is too long, or empty
        raise InputError(f"cannot read {str(path)[:200]!r}: {error}") from error
    raise InputError(f"there is no file {str(path)!r}, plain or gzipped")
