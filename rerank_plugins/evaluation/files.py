"""Text files, plain or gzipped, line by line; what is wrong with one is said with its name."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

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


def _found(path: Path) -> Path:
    """The file, or its gzipped version where only that is there.

    Raises:
        InputError: Neither is there.
    """
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise InputError(f"there is no file {str(path)!r}, plain or gzipped")
