"""Saving and loading an index: a folder that is complete, or is the old one.

Every save writes a folder of its own inside; then the manifest, which names it, is replaced in one
step, and the one that it named before goes. A process that dies on the way leaves the old manifest
with its files.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...text import Passage
from .faiss import FaissIndex, import_faiss

VERSION = 1
MANIFEST = "manifest.json"
_INDEX, _PASSAGES, _VECTORS = "index.faiss", "passages.jsonl", "vectors.npy"
_FORMAT = "rerank-plugins index"
_GENERATION = "generation-"
_ATTEMPTS = 20


def save(index: FaissIndex, folder: Path) -> None:
    """Write an index.

    Raises:
        InputError: The folder cannot be written, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file, expected a folder")
    _check_ours(folder)
    generation = folder / f"{_GENERATION}{uuid.uuid4().hex}"
    try:
        generation.mkdir(parents=True)
        _write(index, generation)
        manifest = {
            "format": _FORMAT,
            "version": VERSION,
            "generation": generation.name,
            "passages": len(index),
            "dimensions": index.index.d,
            "metric": index.metric,
            "files": {path.name: _digest(path) for path in sorted(generation.iterdir())},
        }
        before = _named(folder)
        _replace(folder / MANIFEST, json.dumps(manifest, indent=1))
    except BaseException as error:
        shutil.rmtree(generation, ignore_errors=True)
        if isinstance(error, OSError | RuntimeError):
            raise InputError(f"cannot write the index into {str(folder)!r}: {error}") from error
        raise
    # Nothing but what the old manifest named: another process may be writing its own. So what a
    # process that was killed left stays; it is never read.
    if before:
        shutil.rmtree(folder / before, ignore_errors=True)


def load(folder: Path) -> FaissIndex:
    """Read what `save` wrote.

    Raises:
        InputError: There is no index, or its files are damaged, do not belong together, or are of
            another version.
    """
    for _ in range(_ATTEMPTS):
        manifest = _manifest(folder)
        try:
            return _read(folder, manifest)
        except (InputError, OSError, RuntimeError, ValueError) as error:
            if _manifest(folder)["generation"] != manifest["generation"]:
                continue  # it was replaced while it was read
            if isinstance(error, InputError):
                raise
            raise InputError(f"the index in {str(folder)!r} cannot be read: {error}") from error
    raise InputError(f"the index in {str(folder)!r} is replaced all the time")


def _read(folder: Path, manifest: Mapping[str, Any]) -> FaissIndex:
    generation = folder / Path(manifest["generation"]).name
    for name, digest in manifest["files"].items():
        path = generation / Path(name).name
        if not path.is_file():
            raise InputError(f"the index in {str(folder)!r} has lost its file {name!r}")
        if _digest(path) != digest:
            raise InputError(
                f"the file {name!r} of the index in {str(folder)!r} is damaged or incomplete",
                hint="Build the index again, or copy the whole folder again.",
            )
    index = import_faiss().read_index(str(generation / _INDEX))
    passages = _passages(generation / _PASSAGES)
    vectors = generation / _VECTORS
    kept = np.load(vectors, allow_pickle=False) if _VECTORS in manifest["files"] else None
    found = (index.ntotal, index.d, len(passages))
    if found != (manifest["passages"], manifest["dimensions"], manifest["passages"]):
        raise InputError(
            f"the files of the index in {str(folder)!r} do not belong together: "
            f"{index.ntotal} vectors of {index.d} dimensions, {len(passages)} passages"
        )
    return FaissIndex(
        index, ids=[key for key, _ in passages], texts=[text for _, text in passages], vectors=kept
    )


def _check_ours(folder: Path) -> None:
    """Refuse a folder that holds something else; what a save that was killed left is ours."""
    entries = list(folder.iterdir()) if folder.is_dir() else []
    ours = all(e.name.startswith((_GENERATION, f"{MANIFEST}.")) for e in entries)
    if ours or _named(folder):
        return
    raise InputError(f"{str(folder)!r} holds something else", hint="Give a new or an empty folder.")


def _named(folder: Path) -> str:
    """The generation that the manifest names; nothing where there is no manifest of ours."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
        name = str(found["generation"]) if found["format"] == _FORMAT else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return name if name.startswith(_GENERATION) and Path(name).name == name else ""


def _write(index: FaissIndex, generation: Path) -> None:
    faiss = import_faiss()
    on_gpu = "Gpu" in type(index.index).__name__
    faiss.write_index(
        faiss.index_gpu_to_cpu(index.index) if on_gpu else index.index, str(generation / _INDEX)
    )
    with (generation / _PASSAGES).open("w", encoding="utf-8") as file:
        for key, text in zip(index.ids, index.texts, strict=True):
            row = {"id": key, "text": str(text)}
            if isinstance(text, Passage) and text.passage_title:
                row["title"] = text.passage_title
            file.write(json.dumps(row) + "\n")
    if index.vectors is not None:
        np.save(generation / _VECTORS, index.vectors, allow_pickle=False)
    for path in generation.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    """Write a file in one step: readers see the old one or the new one."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"there is no saved index in {str(folder)!r}")
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"the manifest in {str(folder)!r} is damaged: {error}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise InputError(f"{str(path)!r} is not the manifest of an index")
    if found.get("version") != VERSION:
        raise InputError(
            f"the index in {str(folder)!r} is of version {found.get('version')!r}, and this "
            f"library reads {VERSION}",
            hint="Build the index again.",
        )
    expected = {"generation": str, "passages": int, "dimensions": int, "files": dict}
    if any(not isinstance(found.get(name), kind) for name, kind in expected.items()):
        raise InputError(f"the manifest in {str(folder)!r} is incomplete")
    if missing := {_INDEX, _PASSAGES} - set(found["files"]):
        raise InputError(f"the manifest in {str(folder)!r} names no {sorted(missing)}")
    return found


def _passages(path: Path) -> list[tuple[str, str]]:
    """Ids and texts; a text that had a title has it again."""
    try:
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return [
            (
                str(row["id"]),
                Passage(str(row["text"]), title=str(row["title"]))
                if "title" in row
                else str(row["text"]),
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name!r} does not hold passages: {error}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
