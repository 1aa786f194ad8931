"""A query and what was retrieved for it, as files give them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..evaluation import Collection, Run, Scores, check_run
from ..text import Passage


@dataclass(frozen=True, slots=True)
class Query:
    """One query to rank.

    Attributes:
        query_id: Its id.
        text: What is asked.
        passages: Texts, best first as the retriever found them.
        ids: Of the passages; None where the row gave none.
    """

    query_id: str
    text: str
    passages: tuple[str, ...]
    ids: tuple[str, ...] | None


def read_requests(lines: Iterable[str | bytes], name: str) -> Iterator[Query]:
    """The queries of a JSON Lines file, one after the other: nothing but the ids is kept.

    Args:
        lines: One row of `parsed` each; blank ones are passed over.
        name: Of the file, for messages.

    Raises:
        InputError: A line is not such a row, or a query id is given twice; the line's number is
            in the message.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query = parsed(_row(line))
        except InputError as error:
            raise InputError(f"line {number} of {name}: {error}") from error
        if query.query_id in seen:
            raise InputError(
                f"line {number} of {name}: the query id {query.query_id!r} is that of line "
                f"{seen[query.query_id]} too"
            )
        seen[query.query_id] = number
        yield query


def run_requests(
    collection: Collection, run: Run, *, depth: int | None = None, scores: Scores | None = None
) -> Iterator[Query]:
    """The queries of a run with the passages that it found.

    Args:
        collection: Has their texts.
        run: Document ids by query id, best first.
        depth: Documents of each query; all when None.
        scores: The retriever's, which go with the passages to strategies such as `Hybrid`.

    Raises:
        InputError: The run names queries or documents that the collection lacks.
    """
    check_run(run, collection)
    for key, found in run.items():
        ids = tuple(found[:depth])
        known = (scores or {}).get(key, {})
        texts = tuple(_scored(collection.documents[d], known.get(d)) for d in ids)
        yield Query(key, collection.queries[key], texts, ids)


def _scored(text: str, score: float | None) -> str:
    if score is None:
        return text
    return Passage(text, title=getattr(text, "passage_title", ""), score=score)


def parsed(row: Mapping[str, Any]) -> Query:
    """The query of a row: ``{query_id, query, passages}`` or ``{query_id, query, candidates}``.

    A candidate has ``id`` and ``text``, and may have ``title`` and the retriever's ``score``.

    Raises:
        InputError: A field is missing or of the wrong type, or ids of candidates repeat.

    Examples:
        >>> parsed({"query_id": 7, "query": "flea", "candidates": [{"id": "a", "text": "A flea"}]})
        Query(query_id='7', text='flea', passages=('A flea',), ids=('a',))
    """
    if row.get("query_id") is None:
        raise InputError("a row needs a query_id")
    key = parsed_id(row["query_id"])
    query, passages, candidates = (row.get(key) for key in ("query", "passages", "candidates"))
    if not isinstance(query, str):
        raise InputError(f"query is of type {type(query).__name__}, expected a string")
    if (passages is None) == (candidates is None):
        raise InputError("a row needs either passages or candidates")
    if passages is not None:
        if not isinstance(passages, list) or not all(isinstance(p, str) for p in passages):
            raise InputError("passages is not a list of strings")
        return Query(key, query, tuple(passages), None)
    found = _candidates(candidates)
    ids = tuple(found)
    return Query(key, query, tuple(found.values()), ids)


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
        key = parsed_id(candidate["id"])
        if key in found:
            raise InputError(f"the candidate id {key!r} is given twice")
        score = _score(candidate.get("score"), f"candidates[{i}]")
        title = str(candidate.get("title") or "")
        found[key] = Passage(candidate["text"], title=title, score=score)
    return found


def _score(value: object, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.inf
    if isinstance(value, bool) or not math.isfinite(number):
        raise InputError(f"the score of {name} is {str(value)[:40]!r}, expected a number")
    return number


def parsed_id(value: object) -> str:
    """An id as text that can be written to a file."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"an id is of type {type(value).__name__}, expected a string")
    text = str(value)
    if text != text.encode("utf-8", "replace").decode():
        raise InputError(f"the id {text!r} is not valid Unicode")
    return text


def _row(line: str | bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputError("this is no JSON object")
    return row
