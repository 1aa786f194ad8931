"""An evaluation as one HTML page that opens offline and loads nothing."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..._extras import extra
from ..._files import replacing
from ...errors import InputError
from .. import Collection, Measured, compare_values, comparisons
from ._pictures import as_svg, effectiveness_cost, movement, rank_movement, recall_by_depth

MOVED = 4  # queries whose movement is drawn
QUERIES = 500  # lines of the table of queries


def write_report(path: str | Path, rows: Sequence[Measured], collection: Collection) -> None:
    """Write the page of an evaluation, whole or not at all.

    Args:
        path: The file.
        rows: The measured runs; the others are compared with the first.
        collection: Queries, documents and judgements.

    Raises:
        InputError: There are no rows, or the file cannot be written.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    page = report_page(rows, collection)
    with replacing(Path(path)) as file:
        file.write(page.encode())


def report_page(
    rows: Sequence[Measured], collection: Collection, *, title: str = "Reranking report"
) -> str:
    """The page of an evaluation, as HTML: a table that sorts, pictures, and every query.

    Texts of queries and documents are shown as text, whatever they contain, and the page may run no
    script but its own.

    Args:
        rows: The measured runs; the others are compared with the first.
        collection: Queries, documents and judgements.
        title: The page's title.

    Raises:
        InputError: There are no rows.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    if not rows:
        raise InputError("rows is empty: there is nothing to report")
    jinja2 = extra("jinja2", "plots")
    script = _part("report.js")
    measure = next(iter(rows[0].each))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page: str = environment.from_string(_part("report.html.j2")).render(
        title=title,
        style=_part("report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        measure=measure,
        rows=rows,
        comparisons=comparisons(rows),
        pictures=_pictures(rows, collection),
        queries=list(rows[0].each[measure])[:QUERIES],
        collection=collection,
    )
    return page


def _pictures(rows: Sequence[Measured], collection: Collection) -> list[tuple[str, str]]:
    """Titles and addresses of the pictures; the last ones are of the queries that changed most."""
    measure = next(iter(rows[0].each))
    drawn: list[tuple[str, Any]] = [
        (f"{measure} against seconds per query", effectiveness_cost(rows, measure)),
        ("Recall by depth", recall_by_depth(rows, collection.qrels)),
    ]
    if len(rows) > 1:
        first, second = rows[:2]
        found = compare_values(first.each[measure], second.each[measure], measure)
        for query, change in found.most_changed(MOVED):
            before, after = movement(first.run, second.run, query)
            labels = {i: f"{i}  {collection.documents.get(i, '')}" for i in after}
            figure = rank_movement(before, after, grades=collection.qrels[query], labels=labels)
            text = collection.queries[query]
            drawn.append((f"{query}: {text} ({change:+.4f} by {second.name})", figure))
    images = (base64.b64encode(as_svg(figure).encode()).decode() for _, figure in drawn)
    titles = (title for title, _ in drawn)
    return [
        (title, f"data:image/svg+xml;base64,{image}")
        for title, image in zip(titles, images, strict=True)
    ]


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
