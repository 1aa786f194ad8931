"""Queries with their passages, read from files or taken from a run."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._checks import not_blank
from ..errors import InputError
from ..evaluation import Collection, Run, Scores, check_run
from ..reranker import Request
from ..text import Passage


@dataclass(frozen=True, slots=True)
class Query:
    """One query to rank.

    Attributes:
        query_id: Its id.
        text: The text of the query.
        passages: Texts in the retriever's order, best first.
        ids: The ids of the passages; None where they have none.
        instruction: What relevance means for this query; None where nothing says so.
    """

    query_id: str
    text: str
    passages: tuple[str, ...]
    ids: tuple[str, ...] | None
    instruction: str | None = None

    @property
    def request(self) -> Request:
        """The query as `Reranker.rank_many` takes it."""
        return self.text, self.passages, self.instruction

    def passage_id(self, position: int) -> str:
        """The id of a passage, or its position where passages have no ids."""
        return self.ids[position] if self.ids else str(position)


def read_requests(lines: Iterable[str | bytes], name: str) -> Iterator[Query]:
    """Read the queries of a JSON Lines file one by one. Only their ids are kept in memory.

    Args:
        lines: One row for `parse_query` each; blank lines are left out.
        name: The name of the file, for messages.

    Raises:
        InputError: A line is not such a row, or a query id is given twice; the message has the
            line's number.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query = parse_query(json.loads(line))
        except InputError as error:
            raise InputError(f"line {number} of {name}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {name} is not JSON: {error}") from error
        if query.query_id in seen:
            raise InputError(
                f"line {number} of {name} has the query id {query.query_id!r}, like line "
                f"{seen[query.query_id]}"
            )
        seen[query.query_id] = number
        yield query


def run_requests(
    collection: Collection, run: Run, *, depth: int | None = None, scores: Scores | None = None
) -> Iterator[Query]:
    """The queries of a run with the passages that it found.

    Args:
        collection: The collection with their texts.
        run: Document ids by query id, best first.
        depth: Documents of each query; all when None.
        scores: The retriever's scores, for strategies such as `Hybrid`.

    Raises:
        InputError: The run names queries or documents that the collection lacks.
    """
    check_run(run, collection)
    for key, found in run.items():
        ids = tuple(found[:depth])
        known = (scores or {}).get(key, {})
        texts = [Passage.of(collection.documents[document]) for document in ids]
        passages = tuple(
            Passage(text, title=text.passage_title, score=known.get(document, text.score))
            for document, text in zip(ids, texts, strict=True)
        )
        yield Query(key, collection.queries[key], passages, ids)


def parse_query(row: object) -> Query:
    """The query of a row: ``{query_id, query, passages}`` or ``{query_id, query, candidates}``.

    A row may have an ``instruction``: what relevance means for its query. A candidate has ``id``
    and ``text``, and may have ``title`` and the retriever's ``score`` (higher is better), or
    instead ``similarity`` or ``distance``, as for `Passage`.

    Raises:
        InputError: A field is missing or of the wrong type, or ids of candidates repeat.

    Examples:
        >>> row = {"query_id": 7, "query": "flea", "candidates": [{"id": "a", "text": "A flea"}]}
        >>> parse_query(row)
        Query(query_id='7', text='flea', passages=('A flea',), ids=('a',), instruction=None)
    """
    if not isinstance(row, Mapping):
        raise InputError(f"a row is of type {type(row).__name__}, which is not a JSON object")
    if row.get("query_id") is None:
        raise InputError("a row needs a query_id")
    query_id = parse_id(row["query_id"])
    query, passages, candidates = (row.get(name) for name in ("query", "passages", "candidates"))
    if not isinstance(query, str):
        raise InputError(f"query is of type {type(query).__name__}, expected a string")
    if (instruction := row.get("instruction")) is not None:
        not_blank(instruction=instruction)
    if (passages is None) == (candidates is None):
        raise InputError("a row needs either passages or candidates")
    if passages is None:
        by_id = _candidates(candidates)
        return Query(query_id, query, tuple(by_id.values()), tuple(by_id), instruction)
    if not isinstance(passages, list) or not all(isinstance(p, str) for p in passages):
        raise InputError("passages is not a list of strings")
    return Query(query_id, query, tuple(passages), None, instruction)


def parse_id(value: object) -> str:
    """An id as text that can be written to a file.

    Raises:
        InputError: It is neither a string nor a whole number, or not valid Unicode.
    """
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"an id is of type {type(value).__name__}, expected a string")
    text = str(value)
    if text != text.encode("utf-8", "replace").decode():
        raise InputError(f"the id {text!r} is not valid Unicode")
    return text


def _candidates(given: object) -> dict[str, Passage]:
    """Passages by their ids, in order."""
    found: dict[str, Passage] = {}
    if not isinstance(given, list):
        raise InputError("candidates is not a list")
    for i, candidate in enumerate(given):
        if not isinstance(candidate, Mapping) or candidate.get("id") is None:
            raise InputError(f"candidates[{i}] has no id")
        if not isinstance(candidate.get("text"), str):
            raise InputError(f"candidates[{i}] has no text")
        key = parse_id(candidate["id"])
        if key in found:
            raise InputError(f"the candidate id {key!r} is given twice")
        names = ("score", "similarity", "distance")
        scores = {name: _number(candidate, name, i) for name in names}
        title = str(candidate.get("title") or "")
        try:
            found[key] = Passage(candidate["text"], title=title, **scores)
        except InputError as error:
            raise InputError(f"candidates[{i}]: {error}") from error
    return found


def _number(candidate: Mapping[str, Any], name: str, i: int) -> float | None:
    value = candidate.get(name)
    if value is not None and not _is_finite(value):
        raise InputError(f"the {name} of candidates[{i}] is {str(value)[:40]!r}, expected a number")
    return None if value is None else float(value)


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold."""
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False
