"""Files of token vectors: a head, and one record a text, each with its own checksum.

The head is a line of JSON with the encoder's key. A record is a fixed-size header (the text's
digest, the number of rows, a checksum) and the rows; all of it starts at multiples of 64 bytes, so
that a file can be mapped into memory and read where it lies. Nothing in such a file is code.
"""

import hashlib
import json
import logging
import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

from ..._files import replacing
from ...errors import InputError
from .packing import Packed, Precision

logger = logging.getLogger("rerank_plugins.backends")

SUFFIX = ".vectors"
_FORMAT, _VERSION = "rerank-plugins token vectors", 1
_ALIGNED = 64
_LONGEST_HEAD = 4096
_HEADER = struct.Struct("<4sIIB32sI")
_MARK = b"text"
_BYTES = {"float32": 4, "float16": 2, "int8": 1}


def text_digest(text: str) -> bytes:
    """The key of a text: the SHA-256 of its UTF-8, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Kind:
    """The encoder and the type of vectors: files of another kind are refused.

    Args:
        key: The encoder's.
        dim: The length of a vector.
        precision: The type in which vectors are kept.
    """

    key: str
    dim: int
    precision: Precision

    def head(self) -> bytes:
        """The beginning of a file."""
        stated = {"format": _FORMAT, "version": _VERSION, "key": self.key}
        line = json.dumps({**stated, "dim": self.dim, "precision": self.precision}).encode()
        return line + b" " * (-(len(line) + 1) % _ALIGNED) + b"\n"

    @classmethod
    def of(cls, head: bytes, name: str) -> "Kind":
        """The kind that a file's head states.

        Raises:
            InputError: It is the head of another format or version, or damaged.
        """
        try:
            found = json.loads(head)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name} is not a file of token vectors: {error}") from error
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise InputError(f"{name} is not a file of token vectors")
        if found.get("version") != _VERSION:
            raise InputError(
                f"{name} is of version {found.get('version')!r}, expected {_VERSION}",
                hint="Prepare the passages again.",
            )
        key, dim, precision = (found.get(n) for n in ("key", "dim", "precision"))
        sound = isinstance(key, str) and type(dim) is int and dim > 0
        if not sound or precision not in get_args(Precision):
            raise InputError(f"{name} is damaged: its head lacks the encoder's key, dim or type")
        kind = cls(key, dim, precision)  # type: ignore[arg-type]  # checked above
        if head != kind.head():
            raise InputError(f"{name} is damaged: its head is incomplete")
        return kind


def record(digest: bytes, packed: Packed) -> bytes:
    """A text's vectors as they stand in a file."""
    rows = packed.codes.tobytes()
    stated = (len(packed.codes), packed.tokens, packed.truncated, digest)
    check = zlib.crc32(rows, zlib.crc32(repr(stated).encode()))
    header = _HEADER.pack(_MARK, *stated, check)
    return _padded(header) + _padded(rows)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNED)


class TokenVectors:
    """The token vectors of a collection's passages, prepared beforehand. It does not change.

    `LateInteractionBackend.prepare` makes it; ``LateInteractionBackend(prepared=...)`` and
    `rerank_plugins.feedback.FaissIndex` take it. Vectors are found by the text alone; each has a
    checksum, which is compared when it is first read. A file is mapped into memory, and of it only
    the vectors that are asked for are copied: it may be replaced, but not shortened.

    Args:
        kind: What the vectors are.
        buffer: The bytes of a file.
        path: The file; None where the bytes are in memory only.
        whole: Whether an incomplete record at the end is an error; else the log says so.

    Raises:
        InputError: The file is damaged.
    """

    def __init__(self, kind: Kind, buffer: Any, *, path: Path | None, whole: bool = True) -> None:
        self.kind, self.path = kind, path
        self._buffer, self._whole = buffer, whole
        self._places = dict(self._scanned())
        self._checked = set[bytes]()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and text_digest(text) in self._places

    def __repr__(self) -> str:
        size = f"{len(self)} passages, {self.nbytes / 2**20:.1f} MiB"
        return f"TokenVectors({size}, {self.kind.dim} dimensions, {self.kind.precision})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return type(self).load, (self.path,)
        return _from_bytes, (bytes(self._buffer),)

    @property
    def nbytes(self) -> int:
        """The size of the file, in bytes."""
        return len(self._buffer)

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            InputError: It cannot be written, or was mapped from a file that is shorter now.
        """
        self._require_mapped()
        with replacing(Path(path)) as file:
            file.write(self._buffer)

    @classmethod
    def load(cls, path: str | Path) -> "TokenVectors":
        """Map a file into memory that `save` or ``rerank-plugins prepare`` wrote.

        Raises:
            InputError: It cannot be read, is damaged, or is another kind of file.
        """
        return read_file(Path(path))

    def find(self, digest: bytes) -> Packed | None:
        """The vectors of a text by its `text_digest`; None if they are not here.

        Raises:
            InputError: The checksum does not agree, or the file is shorter than it was.
        """
        if (place := self._places.get(digest)) is None:
            return None
        import numpy as np

        at, rows, tokens, truncated, check = place
        dim, precision = self.kind.dim, self.kind.precision
        self._require_mapped()
        codes = np.frombuffer(self._buffer, precision, rows * dim, at).reshape(rows, dim)
        if isinstance(self._buffer, mmap.mmap):
            codes = codes.copy()  # the file may be shortened before they are read again
        if digest not in self._checked:
            stated = (rows, tokens, bool(truncated), digest)
            if zlib.crc32(codes.data, zlib.crc32(repr(stated).encode())) != check:
                raise self._damaged("a checksum does not agree")
            self._checked.add(digest)
        return Packed(codes, tokens, bool(truncated))

    def _scanned(self) -> Iterator[tuple[bytes, tuple[int, int, int, int, int]]]:
        """The place of each record's rows, and what its header says."""
        at, size = len(self.kind.head()), len(self._buffer)
        header = len(_padded(bytes(_HEADER.size)))
        while at + header <= size:
            mark, rows, tokens, truncated, digest, check = _HEADER.unpack_from(self._buffer, at)
            if mark != _MARK or not rows or truncated > 1:
                raise self._damaged(f"there is no record at byte {at}")
            taken = rows * self.kind.dim * _BYTES[self.kind.precision]
            after = at + header + taken + -taken % _ALIGNED
            if after > size:
                break
            yield digest, (at + header, rows, tokens, truncated, check)
            at = after
        if at < size and self._whole:
            raise self._damaged("its last record is incomplete")
        if at < size:
            logger.warning("the last records of %s are not whole and are not used", self.path)

    def _require_mapped(self) -> None:
        """Refuse a file that was shortened in place: to read beyond its end kills the process."""
        if isinstance(self._buffer, mmap.mmap) and self._buffer.size() < len(self._buffer):
            raise self._damaged("the file is shorter than when it was opened")

    def _damaged(self, how: str) -> InputError:
        return InputError(
            f"the token vectors{f' in {str(self.path)!r}' if self.path else ''} are damaged: {how}",
            hint="Remove the file, and prepare the passages again.",
        )


def in_memory(kind: Kind, records: Iterable[bytes]) -> TokenVectors:
    """Token vectors that are in no file."""
    return TokenVectors(kind, b"".join([kind.head(), *records]), path=None)


def _from_bytes(buffer: bytes) -> TokenVectors:
    head = buffer[: buffer.index(b"\n") + 1]
    return TokenVectors(Kind.of(head, "the bytes"), buffer, path=None)


def read_file(path: Path, *, whole: bool = True) -> TokenVectors:
    """Map a file into memory.

    Raises:
        InputError: It cannot be read, is damaged, or is another kind of file.
    """
    name = repr(str(path))
    try:
        with path.open("rb") as file:
            kind = Kind.of(file.readline(_LONGEST_HEAD), name)
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {name}: {error}") from error
    return TokenVectors(kind, buffer, path=path, whole=whole)


def write_file(path: Path, kind: Kind, records: Iterable[bytes]) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    with replacing(path) as file:
        file.write(kind.head())
        for data in records:
            file.write(data)


def read_folder(folder: Path) -> list[TokenVectors]:
    """The files of token vectors in a folder.

    A file without a head, and a record that is cut off, are what a killed process left: the log
    names the file, and the others are read.

    Raises:
        InputError: It is not a folder, holds none but something else, or a file cannot be read or
            is damaged in its middle.
    """
    if not folder.exists():
        return []
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder {str(folder)!r}: {error}") from error
    ours = [path for path in found if path.suffix == SUFFIX]
    if found and not any(SUFFIX in path.name for path in found):
        raise InputError(
            f"{str(folder)!r} holds something else than token vectors",
            hint="Give an empty folder, or one that is not there yet.",
        )
    return [read_file(path, whole=False) for path in ours if _has_head(path)]


def _has_head(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            Kind.of(file.readline(_LONGEST_HEAD), repr(str(path)))
    except InputError as error:
        logger.warning("the vectors in %s are not used: %s", path, error)
        return False
    except OSError:
        return True  # reading it again gives the error
    return True


def append(file: BinaryIO, data: bytes) -> None:
    """Append to a file that is not buffered.

    Raises:
        OSError: It cannot be written.
    """
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
