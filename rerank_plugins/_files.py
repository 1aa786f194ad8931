"""Files: read line by line, written whole or not at all, stamped with what they are."""

import gzip
import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from .errors import InputError


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1; blank ones are left out.

    Args:
        path: The file, or, where only that is there, the one with ``.gz`` behind its name.

    Raises:
        InputError: There is no such file, it cannot be read, is not UTF-8, or its compression
            is damaged.
    """
    number, found = 0, _found(path)
    opened = gzip.open if found.suffix == ".gz" else open
    try:
        with cast(TextIO, opened(found, "rt", encoding="utf-8")) as file:
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
    """The objects of a JSON Lines file with the numbers of their lines.

    Raises:
        InputError: As `lines_of`; or a line is not a JSON object: its number is in the message.
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
    """Write a text file, compressed where its name ends in ``.gz``, whole or not at all.

    Until the last line is on the disk, the file is the one that was there before. Equal lines make
    equal bytes, also compressed.

    Args:
        path: The file.
        lines: Without ends; they may be read from the old file.

    Returns:
        How many lines.

    Raises:
        InputError: The file cannot be written.
    """
    count = 0
    with replacing(path) as raw, _packed(raw) if path.suffix == ".gz" else nullcontext(raw) as file:
        for line in lines:
            file.write(f"{line}\n".encode())
            count += 1
    return count


DRAFT = ".draft"
"""How the name of a file ends that `replacing` has not finished, or that a killed process left."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file whole or not at all: what is written takes its place when the block ends.

    The draft lies beside the file, is created for this process alone, and never through a link. An
    exception in the block leaves the old file and no draft. On the disk when this returns, the new
    name included.

    Raises:
        InputError: The file cannot be written; its cause is the `OSError`.
    """
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}{DRAFT}")
    try:
        try:
            with draft.open("xb") as file:  # exclusively: an existing name or link is an error
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _sync_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error}") from error


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a JSON file of this library says of itself: what it is, and how it is laid out.

    Args:
        format: What it is, such as ``"rerank-plugins index"``.
        version: Of its layout. Files of other versions are refused.
    """

    format: str
    version: int

    def write(self, path: Path, values: Mapping[str, Any]) -> None:
        """Write the values under this stamp, whole or not at all.

        Raises:
            InputError: The file cannot be written.
        """
        stamped = {"format": self.format, "version": self.version, **values}
        with replacing(path) as file:
            file.write(f"{json.dumps(stamped, indent=1, ensure_ascii=False)}\n".encode())

    def read(self, path: Path) -> dict[str, Any]:
        """The values of a file with this stamp, without the stamp.

        Raises:
            InputError: There is no such file, it is damaged, or it has another stamp.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"there is no file {str(path)!r}") from error
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
        return found


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names onto the disk, where the system lets folders be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _packed(raw: BinaryIO) -> BinaryIO:
    """Compressed; no name and no time in the header, so that the bytes depend on the text alone."""
    return cast(BinaryIO, gzip.GzipFile("", "wb", fileobj=raw, mtime=0))


def _found(path: Path) -> Path:
    """The file, or its gzipped version where only that is there.

    Raises:
        InputError: Neither is there.
    """
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise InputError(f"there is no file {str(path)!r}, plain or gzipped")
