"""Runs: for each query the documents that were found, best first."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TypeVar

from .._files import lines_of, write_lines
from ..errors import InputError
from ..ranking import Ranking
from ._collection import Collection

T = TypeVar("T")

Run = Mapping[str, Sequence[str]]
"""Document ids by query id, best first."""

Scores = Mapping[str, Mapping[str, float]]
"""Scores by query id and document id, higher is better."""


def load_run(path: str | Path, *, depth: int | None = None) -> dict[str, list[str]]:
    """Read a TREC run file, plain or gzipped, in the order of its ranks.

    Args:
        path: A file with lines of ``query Q0 document rank score tag``.
        depth: Documents to keep for each query; all when None.

    Raises:
        InputError: The file is missing, empty or damaged, a line is malformed, or a document is
            listed twice for a query.
    """
    ranks = _by_query(path, lambda rank, _score: rank)
    return {query: sorted(found, key=found.__getitem__)[:depth] for query, found in ranks.items()}


def load_scores(
    path: str | Path, *, depth: int | None = None, distances: bool = False
) -> dict[str, dict[str, float]]:
    """Read the scores of a TREC run file, plain or gzipped, in the order of its ranks.

    Args:
        path: A file with lines of ``query Q0 document rank score tag``.
        depth: Documents to keep for each query; all when None.
        distances: Whether lower scores are better. They are returned negated.

    Returns:
        Scores by query id and document id, best first, higher is better.

    Raises:
        InputError: The run cannot be read (see `load_run`), a score is not a finite number, or
            scores get better along the ranks, so that the documents were not ranked by them.
    """

    def place(rank: int, score: str) -> tuple[int, float]:
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"has the score {score!r}, expected a finite number")
        return rank, -value if distances else value

    scores: dict[str, dict[str, float]] = {}
    for query, found in _by_query(path, place).items():
        best_first = sorted(found, key=lambda document: found[document][0])
        scores[query] = {document: found[document][1] for document in best_first}
        if any(a < b for a, b in pairwise(scores[query].values())):
            way = "fall" if distances else "rise"
            raise InputError(f"the scores of the query {query!r} in {path} {way} along its ranks")
    return {query: dict(islice(found.items(), depth)) for query, found in scores.items()}


def _by_query(path: str | Path, value: Callable[[int, str], T]) -> dict[str, dict[str, T]]:
    """A value of each line of a run file, by query and document.

    Args:
        path: The file.
        value: Called with a line's rank and score; the message of its `InputError` follows the
            name of the line.

    Raises:
        InputError: The file is missing, empty or damaged, a line is malformed, or a document is
            listed twice for a query.
    """
    values: dict[str, dict[str, T]] = {}
    for number, line in lines_of(Path(path)):
        try:
            query, _, document, rank, score, _ = line.split()
            known = value(int(rank), score)
        except InputError as error:
            raise InputError(f"line {number} of {path} {error}") from error
        except ValueError as error:
            raise InputError(f"line {number} of {path} is not a TREC run line") from error
        found = values.setdefault(query, {})
        if document in found:
            raise InputError(
                f"line {number} of {path} lists {document!r} for the query {query!r} again"
            )
        found[document] = known
    if not values:
        raise InputError(f"the run {str(path)!r} is empty")
    return values


def write_run(
    path: str | Path,
    run: Run,
    *,
    scores: Mapping[str, Sequence[float]] | None = None,
    tag: str = "rerank-plugins",
) -> None:
    """Write a TREC run file, whole or not at all, gzipped where its name ends in ``.gz``.

    Args:
        path: The file.
        run: Document ids by query id, best first.
        scores: Scores by query id, aligned with the run; reciprocal ranks when None.
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
    lines = (
        run_lines(query, found, None if scores is None else scores[query], tag)
        for query, found in run.items()
    )
    write_lines(Path(path), chain.from_iterable(lines))


def run_lines(
    query: str, found: Sequence[str], scores: Iterable[float] | None, tag: str
) -> Iterator[str]:
    """The lines of one query in a TREC run file.

    Args:
        query: The query's id.
        found: Document ids, best first.
        scores: Aligned with the documents; reciprocal ranks when None.
        tag: The run's name.

    Raises:
        InputError: A name is empty or holds white space.
    """
    for name in (query, *found, tag):
        if not name or name.split() != [name]:
            raise InputError(f"a TREC run cannot hold the id {name!r}: it is not a single word")
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
    """The judged queries of a run; the collection's other queries are left out.

    Raises:
        InputError: No query is judged, or the run names queries or documents that the collection
            lacks.

    Examples:
        >>> texts, judged = {"a": "A flea"}, {"q": {"a": 1}}
        >>> collection = Collection(
        ...     documents=texts, queries={"q": "flea?"}, qrels=judged, unjudged={"r": "cat?"}
        ... )
        >>> judged_run({"q": ["a"], "r": ["z"]}, collection)
        {'q': ['a']}
    """
    known = collection.queries.keys() | collection.unjudged.keys()
    if lost := [query for query in run if query not in known]:
        raise InputError(
            f"the run answers {len(lost)} queries that the collection lacks, among them "
            f"{lost[0]!r}",
            hint="Is it the run of another collection? If not, remove them from the run.",
        )
    judged = {query: found for query, found in run.items() if query in collection.queries}
    if not judged:
        raise InputError(
            "no query of the run is judged", hint="Is it the run of another collection or split?"
        )
    check_run(judged, collection)
    return judged


def run_passages(collection: Collection, run: Run, query: str) -> list[str]:
    """The texts of the documents that a run found for a query, best first."""
    return [collection.documents[document] for document in run[query]]


def rerank_run(run: Run, rankings: Mapping[str, Ranking]) -> dict[str, list[str]]:
    """The run in a new order: each ranking orders the head of its query's list.

    Documents below that head keep their places. Queries without a ranking are left out.

    Examples:
        >>> rerank_run({"q": ["a", "b", "c"]}, {"q": Ranking((1, 0))})
        {'q': ['b', 'a', 'c']}
    """
    return {
        query: [*(found[i] for i in rankings[query].order), *found[len(rankings[query]) :]]
        for query, found in run.items()
        if query in rankings
    }
