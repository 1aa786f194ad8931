"""Text files, plain or gzipped, line by line; what is wrong with one is said with its name."""

import gzip
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from ..errors import InputError


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
    count, draft = 0, path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("xb") as raw:
            with _packed(raw) if path.suffix == ".gz" else nullcontext(raw) as file:
                for line in lines:
                    file.write(f"{line}\n".encode())
                    count += 1
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return count


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
