"""First stages that a command makes itself: searched once, kept as a TREC run, and reused."""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from .._files import Stamp, digest
from ..errors import InputError
from ..evaluation import (
    Collection,
    Run,
    Scores,
    bm25_scores,
    bm25_settings,
    load_run,
    load_scores,
    write_run,
)
from ._arguments import AT_LEAST_ONE, load_first_stage
from ._feedback import ENCODER, collection_index, load_encoder
from ._terminal import make_folder

F = TypeVar("F", bound=Callable[..., Any])

FirstStage = Literal["bm25", "dense"]
FIRST_STAGES: tuple[FirstStage, ...] = ("bm25", "dense")
_STAMP = Stamp("rerank-plugins first stage", 1)
_AT_ONCE = 64  # queries searched together: each hit comes with its vector


def first_stage_options(command: F) -> F:
    """The options of `found_runs` for first stages."""
    for option in (
        click.option(
            "--cache",
            help="The folder that keeps first stages.  [default: in --output, or in ~/.cache]",
        ),
        click.option(
            "--encoder", default=ENCODER, show_default=True, help="Of --first-stage dense."
        ),
        click.option(
            "--first-stage-depth",
            type=AT_LEAST_ONE,
            default=1000,
            show_default=True,
            help="Documents that --first-stage finds for each query.",
        ),
        click.option(
            "--first-stage",
            "first_stages",
            type=click.Choice(FIRST_STAGES),
            multiple=True,
            help="Search the collection, with BM25 or an encoder and FAISS; repeatable.",
        ),
    ):
        command = option(command)
    return command


def found_runs(
    collection: Collection,
    paths: Sequence[str],
    *,
    depth: int,
    output: str | None,
    scored: bool,
    first_stages: Sequence[FirstStage],
    first_stage_depth: int,
    encoder: str,
    cache: str | None,
) -> tuple[dict[str, Run], Scores | None]:
    """Runs by their names: those of first stages, then those of files.

    Args:
        collection: Documents and queries.
        paths: Files of runs.
        depth: Documents that are reranked: a first stage finds no fewer.
        output: The folder of the results, which keeps first stages where no other is named.
        scored: Whether the scores of the first run are needed.
        first_stages: Their names.
        first_stage_depth: Documents that they find for each query.
        encoder: Of ``"dense"``.
        cache: The folder that keeps first stages.

    Returns:
        The runs, and the scores of the first one; None where it has none.

    Raises:
        click.UsageError: There is neither a first stage nor a file.
        InputError: Two have the same name, or one cannot be made or read.
    """
    if not paths and not first_stages:
        raise click.UsageError("Give --first-stage bm25, or --run with a TREC run.")
    kept = Path(cache) if cache else Path(output, "first_stage") if output else cache_folder()
    found: dict[str, tuple[Run, Scores | None]] = {}
    for first in first_stages:
        found[first] = make_first_stage(
            first, collection, kept, depth=max(depth, first_stage_depth), encoder=encoder
        )
    for path in paths:
        if (name := short_name(path)) in found:
            raise InputError(f"two of the runs have the name {name!r}", hint="Rename a file.")
        found[name] = load_first_stage(path) if scored and not found else (load_run(path), None)
    return {name: run for name, (run, _) in found.items()}, next(iter(found.values()))[1]


def short_name(path: str) -> str:
    """The name of a file or a checkpoint in the table.

    Examples:
        >>> short_name("runs/bm25.trec.gz"), short_name("castorini/first_mistral")
        ('bm25', 'first_mistral')
    """
    name = Path(path).name.removesuffix(".gz")
    for suffix in (".trec", ".run", ".txt", ".yaml", ".yml", ".json", ".gguf"):
        name = name.removesuffix(suffix)
    return "-".join(name.split()) or "ranker"


def make_first_stage(
    name: FirstStage, collection: Collection, folder: Path, *, depth: int, encoder: str
) -> tuple[Run, Scores]:
    """Search all queries of a collection, or read what an earlier call found.

    The run is kept in the folder as ``NAME-KEY.trec.gz``, and what made it in
    ``NAME-KEY.json``. The
    key is a digest of the texts and of every setting, so that no run is taken for another.

    Args:
        name: ``"bm25"``, or ``"dense"``: vectors of an encoder in FAISS, by inner product.
        collection: Documents and queries.
        folder: Where runs and vectors are kept.
        depth: Documents of each query.
        encoder: The encoder of ``"dense"``: a name, or a folder.

    Returns:
        The documents of each query that finds any, best first, and their scores.

    Raises:
        InputError: The folder cannot be written, a kept run cannot be read, the encoder cannot be
            loaded, or no query finds anything.
        MissingExtraError: A package of the search is not installed.
    """
    texts = {"documents": _digest(collection.documents), "queries": _digest(collection.queries)}
    vectors = {"encoder": encoder, "files": _files_of(Path(encoder))}
    made_by = bm25_settings() if name == "bm25" else vectors
    settings = {"first_stage": name, "depth": depth, **made_by, **texts}
    run = folder / f"{name}-{_digest(settings)}.trec.gz"
    beside = run.with_suffix("").with_suffix(".json")
    if not (run.exists() and beside.exists()):
        make_folder(folder)
        click.echo(f"Searching {len(collection.documents)} documents with {name} ...", err=True)
        if name == "bm25":
            found = bm25_scores(collection, depth=depth)
        else:
            index = folder / f"index-{_digest({'documents': texts['documents'], **vectors})}"
            found = _dense_scores(collection, index, depth=depth, encoder=encoder)
        answered = {query: scores for query, scores in found.items() if scores}
        if not answered:
            raise InputError(f"{name} finds no document for any query of the collection")
        values = {query: list(scores.values()) for query, scores in answered.items()}
        write_run(run, {q: list(scores) for q, scores in answered.items()}, scores=values, tag=name)
        _STAMP.write(beside, settings)
    scores = load_scores(run)
    return {query: list(ranked) for query, ranked in scores.items()}, scores


def cache_folder() -> Path:
    """The folder of runs and vectors that no folder was named for: in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~", ".cache").expanduser()
    return Path(home) / "rerank-plugins" / "first_stage"


def _dense_scores(
    collection: Collection, folder: Path, *, depth: int, encoder: str
) -> dict[str, dict[str, float]]:
    """Scores by query and document: the nearest vectors, which the folder keeps."""
    encode = load_encoder(encoder)
    index = collection_index(collection, encode, str(folder))
    found: dict[str, dict[str, float]] = {}
    asked = iter(collection.queries.items())
    while some := list(itertools.islice(asked, _AT_ONCE)):
        vectors = encode([text for _, text in some], "query")
        for (query, _), hits in zip(some, index.search_many(vectors, depth), strict=True):
            found[query] = {hit.id: hit.score or 0.0 for hit in hits}
    return found


def _digest(values: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of a mapping, in its order."""
    return hashlib.sha256(json.dumps(list(values.items())).encode()).hexdigest()[:12]


def _files_of(encoder: Path) -> dict[str, str]:
    """The digests of an encoder's files, where it is a folder: another model may get its name."""
    if not encoder.is_dir():
        return {}
    files = sorted(path for path in encoder.rglob("*") if path.is_file())
    return {str(path.relative_to(encoder)): digest(path) for path in files}
