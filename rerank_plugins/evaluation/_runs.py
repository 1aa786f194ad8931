"""Runs: for each query the documents that were found, best first."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from .._files import lines_of
from ..errors import InputError
from ..ranking import Ranking
from ._collection import Collection

Run = Mapping[str, Sequence[str]]
"""Document ids by query id, best first."""

Scores = Mapping[str, Mapping[str, float]]
"""Scores by query id and document id, higher is better."""


def load_run(path: str | Path, *, depth: int | None = None) -> dict[str, list[str]]:
    """Read a TREC run file, plain or gzipped, in the order of its ranks.

    Args:
        path: Lines of ``query Q0 document rank score tag``.
        depth: Documents to keep for each query; all when None.

    Raises:
        InputError: The file is missing, empty or damaged, a line is malformed, or a document is
            listed twice for a query.
    """
    ranked: dict[str, dict[str, int]] = {}
    for number, line in lines_of(Path(path)):
        try:
            query, _, document, rank, _, _ = line.split()
            place = int(rank)
        except ValueError as error:
            raise InputError(f"line {number} of {path} is not a TREC run line") from error
        found = ranked.setdefault(query, {})
        if document in found:
            raise InputError(
                f"line {number} of {path} lists {document!r} for the query {query!r} again"
            )
        found[document] = place
    if not ranked:
        raise InputError(f"the run {str(path)!r} is empty")
    return {query: sorted(found, key=found.__getitem__)[:depth] for query, found in ranked.items()}


def load_scores(path: str | Path, *, depth: int | None = None) -> dict[str, dict[str, float]]:
    """The scores of a TREC run file, plain or gzipped, by query and document, best first.

    Args:
        path: Lines of ``query Q0 document rank score tag``.
        depth: Documents to keep for each query; all when None.

    Raises:
        InputError: As `load_run`; or a score is no finite number, or rises along the ranks: then
            the scores are not what the documents were ranked by.
    """
    run = load_run(path)
    found: dict[str, dict[str, float]] = {query: {} for query in run}
    for number, line in lines_of(Path(path)):
        query, _, document, _, score, _ = line.split()
        try:
            found[query][document] = float(score)
        except ValueError:
            found[query][document] = math.nan
        if not math.isfinite(found[query][document]):
            raise InputError(f"line {number} of {path} has the score {score!r}, which is no number")
    for query, ids in run.items():
        values = [found[query][document] for document in ids]
        if any(a < b for a, b in pairwise(values)):
            raise InputError(f"the scores of the query {query!r} in {path} rise along its ranks")
    return {q: {document: found[q][document] for document in ids[:depth]} for q, ids in run.items()}


def write_run(
    path: str | Path,
    run: Run,
    *,
    scores: Mapping[str, Sequence[float]] | None = None,
    tag: str = "rerank-plugins",
) -> None:
    """Write a TREC run file.

    Args:
        path: The file.
        run: Document ids by query id, best first.
        scores: Aligned with the run; reciprocal ranks when None.
        tag: The run's name.

    Raises:
        InputError: An id holds white space, which the format cannot express, or the file cannot
            be written.

    Examples:
        >>> import tempfile
        >>> file = tempfile.mktemp()
        >>> write_run(file, {"q": ["b", "a"]}, tag="mine")
        >>> print(Path(file).read_text().strip())
        q Q0 b 1 1.0 mine
        q Q0 a 2 0.5 mine
    """
    try:
        with Path(path).open("w", encoding="utf-8") as file:
            for query, found in run.items():
                given = None if scores is None else scores[query]
                file.writelines(f"{line}\n" for line in run_lines(query, found, given, tag))
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error}") from error


def run_lines(
    query: str, found: Sequence[str], scores: Iterable[float] | None, tag: str
) -> Iterator[str]:
    """The lines of one query in a TREC run file.

    Raises:
        InputError: A name holds white space.
    """
    for name in (query, *found, tag):
        if not name or name.split() != [name]:
            raise InputError(f"the id {name!r} cannot stand in a TREC run: it is no single word")
    values = (1.0 / rank for rank in range(1, len(found) + 1)) if scores is None else scores
    for rank, (name, score) in enumerate(zip(found, values, strict=True), start=1):
        yield f"{query} Q0 {name} {rank} {score!r} {tag}"


def check_run(run: Run, collection: Collection) -> None:
    """Refuse a run of another collection.

    Raises:
        InputError: It names documents or queries that the collection lacks.
    """
    queries = [query for query in run if query not in collection.queries]
    if queries:
        raise InputError(
            f"the run answers {len(queries)} queries that the collection lacks or that are not "
            f"judged, among them {queries[0]!r}",
            hint="Is it the run of another collection, or of another split?",
        )
    named = {document for found in run.values() for document in found}
    if unknown := sorted(named - collection.documents.keys()):
        raise InputError(
            f"the run names {len(unknown)} documents that the collection lacks, among them "
            f"{unknown[0]!r}",
            hint="Is it the run of another collection?",
        )


def judged_run(run: Run, collection: Collection) -> dict[str, Sequence[str]]:
    """The judged queries of a run, whose other queries may be of other splits.

    Raises:
        InputError: None is judged, or documents are named that the collection lacks.

    Examples:
        >>> texts, judged = {"a": "A flea"}, {"q": {"a": 1}}
        >>> collection = Collection(documents=texts, queries={"q": "flea?"}, qrels=judged)
        >>> judged_run({"q": ["a"], "of another split": ["z"]}, collection)
        {'q': ['a']}
    """
    judged = {query: found for query, found in run.items() if query in collection.queries}
    if not judged:
        raise InputError(
            "no query of the run is judged", hint="Is it the run of another collection or split?"
        )
    check_run(judged, collection)
    return judged


def passages(collection: Collection, run: Run, query: str) -> list[str]:
    """The texts of what ``run`` found for ``query``, best first."""
    return [collection.documents[document] for document in run[query]]


def rerank_run(run: Run, rankings: Mapping[str, Ranking]) -> dict[str, list[str]]:
    """The run in a new order: each ranking orders the head of its query's list.

    Documents below the head that was reranked keep their places.

    Examples:
        >>> rerank_run({"q": ["a", "b", "c"]}, {"q": Ranking((1, 0))})
        {'q': ['b', 'a', 'c']}
    """
    return {
        query: [*(found[i] for i in rankings[query].order), *found[len(rankings[query]) :]]
        for query, found in run.items()
        if query in rankings
    }
