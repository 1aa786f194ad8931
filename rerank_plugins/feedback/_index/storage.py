"""Files of an index: a folder that always holds a whole index.

Each save writes its files into a new folder inside it, a generation. Then the manifest, which names
the generation, is replaced in one step, and the generation that it named before is removed. When a
save is killed, the old manifest and its files remain.
"""

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..._checks import fits
from ..._files import (
    HEX,
    Stamp,
    digest,
    remove_abandoned,
    rows_of,
    sync_files,
    write_lines,
)
from ...backends import TokenVectors
from ...errors import InputError
from .gpus import find_faiss

MANIFEST = "manifest.json"
STAMP = Stamp("rerank-plugins index", 1)
_INDEX, _PASSAGES, _VECTORS = "index.faiss", "passages.jsonl", "vectors.npy"
_TOKENS = "tokens.vectors"
_GENERATION = "generation-"
_ATTEMPTS = 20


class Parts(NamedTuple):
    """The parts of an index that are stored.

    Attributes:
        index: The FAISS index, on the CPU.
        ids: One for each vector.
        texts: One for each vector.
        titles: One for each vector; empty where there is none.
        vectors: The vectors, shape ``(n, dim)``, where they are kept beside the index.
        tokens: The token vectors of the texts, where they are kept.
    """

    index: Any
    ids: Sequence[str]
    texts: Sequence[str]
    titles: Sequence[str]
    vectors: Any | None
    tokens: TokenVectors | None = None


def save(parts: Parts, folder: Path, *, metric: str) -> None:
    """Write an index.

    Args:
        parts: The index.
        folder: Where to; made if it does not exist.
        metric: The index's metric, noted in the manifest.

    Raises:
        InputError: The folder cannot be written, or holds something else.
    """
    _require_ours(folder)
    generation = folder / f"{_GENERATION}{uuid.uuid4().hex}"
    try:
        generation.mkdir(parents=True)
        _write(parts, generation)
        manifest = {
            "generation": generation.name,
            "passages": len(parts.ids),
            "dimensions": parts.index.d,
            "metric": metric,
            "files": {path.name: digest(path) for path in sorted(generation.iterdir())},
        }
        before = _generation_in(folder)
        STAMP.write(folder / MANIFEST, manifest)
    except BaseException as error:
        shutil.rmtree(generation, ignore_errors=True)
        if isinstance(error, OSError | RuntimeError):
            raise InputError(f"cannot write the index into {str(folder)!r}: {error}") from error
        raise
    # Another process may be writing its own generation: only what the old manifest named is removed
    # at once, and what a killed process left, which is never read, a day later.
    if before:
        shutil.rmtree(folder / before, ignore_errors=True)
    remove_abandoned(folder, f"{_GENERATION}{HEX}", kept=(generation.name, _generation_in(folder)))


def load(folder: Path) -> Parts:
    """Read what `save` wrote.

    Raises:
        InputError: There is no index, or its files are damaged, do not belong together, or are of
            another version.
    """
    for _ in range(_ATTEMPTS):
        manifest = _manifest(folder)
        try:
            return _read(folder, manifest)
        except Exception as error:  # NumPy and FAISS raise of all kinds
            if _manifest(folder)["generation"] != manifest["generation"]:
                continue  # it was replaced while it was read
            if isinstance(error, InputError):
                raise
            raise InputError(f"the index in {str(folder)!r} cannot be read: {error}") from error
    raise InputError(
        f"the index in {str(folder)!r} was replaced {_ATTEMPTS} times while it was read",
        hint="Save it less often, or load it again later.",
    )


def _require_ours(folder: Path) -> None:
    """Refuse a file, and a folder that holds anything but an index or an unfinished save."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file, expected a folder")
    entries = list(folder.iterdir()) if folder.is_dir() else []
    unfinished = all(e.name.startswith((_GENERATION, f"{MANIFEST}.")) for e in entries)
    if not unfinished and not _generation_in(folder):
        raise InputError(
            f"{str(folder)!r} holds something else", hint="Give a new or an empty folder."
        )


def _generation_in(folder: Path) -> str:
    """The generation that an index's manifest of any version names; empty without a manifest."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
        name = str(found["generation"]) if found["format"] == STAMP.format else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return name if name.startswith(_GENERATION) and Path(name).name == name else ""


def _write(parts: Parts, generation: Path) -> None:
    find_faiss().write_index(parts.index, str(generation / _INDEX))
    rows = (
        {"id": key, "text": text, **({"title": title} if title else {})}
        for key, text, title in zip(parts.ids, parts.texts, parts.titles, strict=True)
    )
    write_lines(generation / _PASSAGES, map(json.dumps, rows))
    if parts.vectors is not None:
        np.save(generation / _VECTORS, parts.vectors, allow_pickle=False)
    if parts.tokens is not None:
        parts.tokens.save(generation / _TOKENS)
    sync_files(generation)


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"there is no saved index in {str(folder)!r}")
    found = STAMP.read(path, generation=str, passages=int, dimensions=int, files=dict)
    if missing := {_INDEX, _PASSAGES} - set(found["files"]):
        raise InputError(f"{str(path)!r} is damaged: it does not list {sorted(missing)}")
    return found


def _read(folder: Path, manifest: Mapping[str, Any]) -> Parts:
    generation = folder / Path(manifest["generation"]).name
    for name, expected in manifest["files"].items():
        path = generation / Path(name).name
        if not path.is_file():
            raise InputError(f"the index in {str(folder)!r} has lost its file {name!r}")
        if digest(path) != expected:
            raise InputError(
                f"the file {name!r} of the index in {str(folder)!r} is damaged or incomplete",
                hint="Build the index again, or copy the whole folder again.",
            )
    index = find_faiss().read_index(str(generation / _INDEX))
    rows = [row for _, row in rows_of(generation / _PASSAGES)]
    if not all(fits(row.get(n, ""), str) for row in rows for n in ("id", "text", "title")) or any(
        not {"id", "text"} <= row.keys() for row in rows
    ):
        raise InputError(f"{_PASSAGES!r} in {str(generation)!r} does not hold passages")
    found = (index.ntotal, index.d, len(rows))
    if found != (manifest["passages"], manifest["dimensions"], manifest["passages"]):
        raise InputError(
            f"the files of the index in {str(folder)!r} do not belong together: "
            f"{index.ntotal} vectors of {index.d} dimensions, {len(rows)} passages"
        )
    return Parts(
        index,
        [row["id"] for row in rows],
        [row["text"] for row in rows],
        [row.get("title", "") for row in rows],
        _array(generation / _VECTORS) if _VECTORS in manifest["files"] else None,
        TokenVectors.load(generation / _TOKENS) if _TOKENS in manifest["files"] else None,
    )


def _array(path: Path) -> Any:
    read: Any = np.lib.format.read_array  # unlike `np.load`, it takes no other kind of file
    with path.open("rb") as file:
        return read(file, allow_pickle=False)
