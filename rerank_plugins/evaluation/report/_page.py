"""One page that holds a whole evaluation: it opens offline, and loads nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ...errors import InputError, MissingExtraError
from .. import Collection, Measured, compare_values, comparisons
from ._pictures import (
    as_svg,
    cost_per_query,
    effectiveness_cost,
    rank_movement,
    recall_by_depth,
    reordered,
)

MOVED = 4  # queries whose movement is drawn
QUERIES = 500  # lines of the table of queries


@dataclass(frozen=True, slots=True)
class _Picture:
    title: str
    source: str  # a data: address


def write_report(path: str | Path, rows: Sequence[Measured], collection: Collection) -> None:
    """Write the page of an evaluation.

    Args:
        path: The file.
        rows: What was measured; the first is what the others are compared with.
        collection: Queries, documents and judgements.

    Raises:
        InputError: There are no rows, or the file cannot be written.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    page = report_page(rows, collection)
    try:
        Path(path).write_text(page, "utf-8")
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error}") from error


def report_page(
    rows: Sequence[Measured], collection: Collection, *, title: str = "Reranking report"
) -> str:
    """The page of an evaluation, as HTML: a table that sorts, pictures, and every query.

    Arguments and errors as for `write_report`. Texts of queries and documents are shown as text,
    whatever they contain, and the page may run no script but its own.
    """
    if not rows:
        raise InputError("there is nothing to report")
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError(
            "jinja2 is not installed", hint='Install it with: pip install "rerank-plugins[plots]".'
        ) from error
    script = _part("report.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_part("report.html.j2")).render(
        title=title,
        style=_part("report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        measures=list(rows[0].each),
        lines=_lines(rows),
        pictures=_pictures(rows, collection),
        names=[row.name for row in rows],
        queries=_queries(rows, collection),
        measure=next(iter(rows[0].each)),
        counts={
            "queries": len(collection.qrels),
            "documents": len(collection.documents),
            "measured": rows[0].queries,
        },
    )


def _lines(rows: Sequence[Measured]) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            "measures": list(row.measures.values()),
            "comparison": found,
            "calls": cost_per_query(row, "calls"),
            "tokens": cost_per_query(row, "tokens"),
            "seconds": cost_per_query(row, "seconds"),
            "fallbacks": row.fallbacks,
            "unanswered": row.unanswered,
        }
        for row, found in zip(rows, comparisons(rows), strict=True)
    ]


def _pictures(rows: Sequence[Measured], collection: Collection) -> list[_Picture]:
    measure = next(iter(rows[0].each))
    drawn = [
        (f"{measure} against seconds per query", effectiveness_cost(rows, measure)),
        ("Recall by depth", recall_by_depth(rows, collection.qrels)),
    ]
    if len(rows) > 1:
        drawn += _movements(rows[0], rows[1], collection, measure)
    return [_Picture(title, _data_address(as_svg(figure))) for title, figure in drawn]


def _movements(
    first: Measured, second: Measured, collection: Collection, measure: str
) -> list[tuple[str, Any]]:
    """The queries that a ranker changed most."""
    found = compare_values(first.each[measure], second.each[measure], measure)
    drawn = []
    for query, change in found.most_changed(MOVED):
        before, after = reordered(first.run, second.run, query)
        figure = rank_movement(
            before, after, grades=collection.qrels[query], labels=_heads(after, collection)
        )
        text = collection.queries[query]
        drawn.append((f"{query}: {text} ({change:+.4f} by {second.name})", figure))
    return drawn


def _heads(ids: Sequence[str], collection: Collection) -> Mapping[str, str]:
    return {i: f"{i}  {collection.documents.get(i, '')}" for i in ids}


def _queries(rows: Sequence[Measured], collection: Collection) -> list[dict[str, Any]]:
    measure = next(iter(rows[0].each))
    return [
        {
            "id": query,
            "text": collection.queries[query],
            "values": [row.each[measure].get(query) for row in rows],
        }
        for query in list(rows[0].each[measure])[:QUERIES]
    ]


def _data_address(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
