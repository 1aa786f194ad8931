"""Vectors of passages that were encoded before: in memory, in a folder, prepared."""

import logging
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import InputError
from .packing import Packed
from .store import SUFFIX, Kind, TokenVectors, append, read_folder, record, text_digest

logger = logging.getLogger("rerank_plugins.backends")


class VectorCache:
    """Finds the vectors of texts. Not safe to share between threads without a lock.

    In memory, those used last are kept, up to a number of bytes. New ones are also appended to a
    file of this process in the folder, where there is one; what other processes write there is read
    by those that start later.

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
        for found in (*prepared, *(read_folder(folder) if folder else ())):
            self.add(found)

    def add(self, vectors: TokenVectors) -> None:
        """Look into these too.

        Raises:
            InputError: They are of another encoder.
        """
        kind, found = self._kind(), vectors.kind
        if (found.key, found.dim) != (kind.key, kind.dim):
            where = f" in {str(vectors.path)!r}" if vectors.path else ""
            raise InputError(
                f"the token vectors{where} are of another model, or were read another way",
                hint="Give the model, the templates and the limits that they were prepared with, "
                "or prepare the passages again.",
            )
        self._files.append(vectors)

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
        return None

    def put(self, text: str, packed: Packed) -> None:
        """Keep the vectors of a text that `get` did not find."""
        digest = text_digest(text)
        self._keep(digest, packed)
        if self._folder is not None:
            try:
                self._append(self._folder, record(digest, packed))
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

    def _append(self, folder: Path, data: bytes) -> None:
        """Append to the file of this process: a forked one has its own."""
        process, path = self._own
        if process != os.getpid():
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
            data = self._kind().head() + data
            self._own = (os.getpid(), path)
        with path.open("ab", buffering=0) as file:
            append(file, data)
