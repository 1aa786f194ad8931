"""Vectors of passages that were encoded before: in memory, in a folder, prepared."""

import logging
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import InputError
from .packing import Packed
from .store import (
    SUFFIX,
    Kind,
    TokenVectors,
    append,
    in_memory,
    read_folder,
    record,
    text_digest,
)

logger = logging.getLogger("rerank_plugins.backends")


class VectorCache:
    """Finds the vectors of texts. Not safe to share between threads without a lock.

    In memory, those used last are kept, up to a number of bytes. New ones are also appended to a
    file of this process in the folder, where there is one, and read from it when memory has
    forgotten them; what other processes write there is read by those that start later. Files of
    another precision in the folder are left alone.

    Args:
        kind: Gives the kind of the vectors; called only where they are in files.
        max_bytes: Bytes of memory at most. A text with more is not kept.
        folder: The folder.
        prepared: Vectors that were prepared.

    Raises:
        InputError: A file is damaged, or of another encoder.
    """

    def __init__(
        self,
        kind: Callable[[], Kind],
        max_bytes: int,
        *,
        folder: Path | None = None,
        prepared: Iterable[TokenVectors] = (),
    ) -> None:
        self._kind, self._max_bytes, self._folder = kind, max_bytes, folder
        self._kept = OrderedDict[bytes, Packed]()
        self.nbytes = 0
        self._files = list[TokenVectors]()
        self._own = (0, Path())  # the process, and its file
        # File, start and length of each record that this process, or one it was forked from, wrote
        self._written = dict[bytes, tuple[Path, int, int]]()
        self._told = False
        for found in prepared:
            self.add(found)
        for found in read_folder(folder) if folder else ():
            self._require_own(found)
            if found.kind.precision == kind().precision:
                self._files.append(found)

    def add(self, vectors: TokenVectors) -> None:
        """Look into these too.

        Raises:
            InputError: They are of another encoder.
        """
        self._require_own(vectors)
        self._files.append(vectors)

    def _require_own(self, vectors: TokenVectors) -> None:
        kind, found = self._kind(), vectors.kind
        if (found.key, found.dim) != (kind.key, kind.dim):
            where = f" in {str(vectors.path)!r}" if vectors.path else ""
            raise InputError(
                f"the token vectors{where} are of another model, or were read another way",
                hint="Give the model, the templates and the limits that they were prepared with, "
                "or prepare the passages again.",
            )

    def get(self, text: str) -> Packed | None:
        """The vectors of a text, if they are known.

        Raises:
            InputError: A file is damaged.
        """
        digest = text_digest(text)
        if (found := self._kept.get(digest)) is not None:
            self._kept.move_to_end(digest)
            return found
        for file in self._files:
            if (found := file.find(digest)) is not None:
                self._keep(digest, found)
                return found
        if (found := self._read_back(digest)) is not None:
            self._keep(digest, found)
        return found

    def put(self, text: str, packed: Packed) -> None:
        """Keep the vectors of a text that `get` did not find."""
        digest = text_digest(text)
        self._keep(digest, packed)
        if self._folder is not None and digest not in self._written:
            try:
                self._append(self._folder, digest, record(digest, packed))
            except OSError as error:
                logger.warning("no more vectors are kept in %s: %s", self._folder, error)
                self._folder = None

    def _keep(self, digest: bytes, packed: Packed) -> None:
        if packed.nbytes > self._max_bytes:
            return
        self._kept[digest] = packed
        self.nbytes += packed.nbytes
        while self.nbytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.nbytes -= oldest.nbytes

    def _read_back(self, digest: bytes) -> Packed | None:
        """The vectors of a text that were written; None where they cannot be read."""
        if (place := self._written.get(digest)) is None:
            return None
        path, start, length = place
        wrong: Exception | str = "they are not there"
        try:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(length)
            if (found := in_memory(self._kind(), [data]).find(digest)) is not None:
                return found
        except (OSError, InputError) as error:
            wrong = error
        if not self._told:
            self._told = True
            logger.warning("vectors in %s cannot be read and are made again: %s", path, wrong)
        if isinstance(wrong, FileNotFoundError) or not isinstance(wrong, OSError):
            del self._written[digest]  # what is lost may be written again, and nothing else
        return None

    def _append(self, folder: Path, digest: bytes, data: bytes) -> None:
        """Append to the file of this process: a forked one has its own."""
        process, path = self._own
        if process != os.getpid():
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
            self._own = (os.getpid(), path)
        with path.open("ab", buffering=0) as file:
            end = file.tell()
            head = b"" if end else self._kind().head()
            append(file, head + data)
        self._written[digest] = (path, end + len(head), len(data))
