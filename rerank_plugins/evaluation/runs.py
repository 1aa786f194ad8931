"""Runs: for each query the documents that were found, best first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data import Ranking
from ..errors import InputError
from .collection import Collection, open_text

Run = Mapping[str, Sequence[str]]
"""Document ids by query id, best first."""


def load_run(path: str | Path, *, depth: int | None = None) -> dict[str, list[str]]:
    """Read a TREC run file, plain or gzipped, in the order of its ranks.

    Args:
        path: Lines of ``query Q0 document rank score tag``.
        depth: Documents to keep for each query; all when None.

    Raises:
        InputError: The file is missing or a line is malformed.
    """
    ranked: dict[str, list[tuple[int, str]]] = {}
    number = 0
    with open_text(Path(path)) as file:
        try:
            for number, line in enumerate(file, start=1):  # noqa: B007 - for the message
                query, _, document, rank, _, _ = line.split()
                ranked.setdefault(query, []).append((int(rank), document))
        except ValueError as error:  # also of bytes that are no text
            raise InputError(f"line {max(number, 1)} of {path} is not a TREC run line") from error
    return {query: [d for _, d in sorted(found)][:depth] for query, found in ranked.items()}


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
