"""An evaluation as one HTML page that opens offline and loads nothing."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._extras import extra
from ..._files import replacing
from ...errors import InputError
from .. import Collection, Measured, comparisons
from ._pictures import (
    as_svg,
    changes_by_query,
    differences,
    effectiveness_cost,
    movement,
    rank_movement,
    recall_by_depth,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOVED = 6  # queries whose movement is drawn
CHANGED = 5  # queries that gained most, and that lost most, of each ranker
MOVES = 4  # passages in a line
QUERIES = 500  # lines of the table of queries


class Change(NamedTuple):
    """A query that a ranker changed: its measure before and after, and how passages moved."""

    query: str
    before: float
    after: float
    moves: str


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
        changes={row.name: _changes(rows[0], row, collection) for row in rows[1:]},
        movements=_movements(rows, collection),
        queries=list(rows[0].each[measure])[:QUERIES],
        collection=collection,
    )
    return page


def _pictures(rows: Sequence[Measured], collection: Collection) -> list[tuple[str, str]]:
    """Titles and addresses of the pictures of all queries together."""
    measure = next(iter(rows[0].each))
    drawn: list[tuple[str, Any]] = []
    if len(rows) > 1:
        drawn = [
            (f"Difference from {rows[0].name}, paired 95 % intervals", differences(rows, measure)),
            ("Change of every query", changes_by_query(rows, measure)),
        ]
    if any(row.cost_per_query("seconds") for row in rows):
        about = f"{measure} and cost; bars are the intervals of the paired difference"
        drawn.append((about, effectiveness_cost(rows, measure)))
    drawn.append(("Recall by depth", recall_by_depth(rows, collection.qrels)))
    return [(title, _address(figure)) for title, figure in drawn]


def _changes(first: Measured, row: Measured, collection: Collection) -> list[Change]:
    """The queries that gained most, and then those that lost most, the largest loss last."""
    measure = next(iter(first.each))
    changes = row.changes_from(first, measure)
    ordered = sorted((query for query in changes if changes[query]), key=lambda q: -changes[q])
    gained = [query for query in ordered if changes[query] > 0][:CHANGED]
    lost = [query for query in ordered if changes[query] < 0][-CHANGED:]
    return [
        Change(
            query,
            first.each[measure][query],
            row.each[measure][query],
            moves(first.run[query], row.run[query], collection.qrels[query]),
        )
        for query in gained + lost
    ]


def moves(before: Sequence[str], after: Sequence[str], grades: Mapping[str, int]) -> str:
    r"""The new ranks of the relevant passages of a query, best grades first.

    A passage that is not in a list has a hyphen for its rank.

    Examples:
        >>> moves(["a", "b", "c"], ["c", "a", "d"], {"c": 2, "b": 1, "a": 0}).replace("\xa0", " ")
        'c (2): 3 → 1, b (1): 2 → -'
    """
    old, new = ({d: rank for rank, d in enumerate(side, start=1)} for side in (before, after))
    moved = [d for d in {**new, **old} if grades.get(d, 0) > 0 and old.get(d) != new.get(d)]
    moved.sort(key=lambda d: (-grades[d], new.get(d, math.inf), old.get(d, math.inf)))
    shown = [f"{d} ({grades[d]}): {old.get(d, '-')} → {new.get(d, '-')}" for d in moved[:MOVES]]
    if len(moved) > MOVES:
        shown.append(f"and {len(moved) - MOVES} more")
    return ", ".join(text.replace(" ", "\xa0") for text in shown)  # lines end between passages


def _movements(rows: Sequence[Measured], collection: Collection) -> list[tuple[str, str]]:
    """Titles and addresses of pictures of the queries that gained most and that lost most."""
    measure, first = next(iter(rows[0].each)), rows[0]
    changed = [
        (change, query, row)
        for row in rows[1:]
        for query, change in row.changes_from(first, measure).items()
    ]
    chosen: dict[str, Measured] = {}
    for sign, room in ((1, MOVED // 2), (-1, MOVED)):
        for change, query, row in sorted(changed, key=lambda item: -sign * item[0]):
            if sign * change > 0 and len(chosen) < room:
                chosen.setdefault(query, row)
    drawn = []
    for query, row in chosen.items():
        before, after = movement(first.run, row.run, query)
        labels = {d: collection.documents.get(d, "") for d in after}
        figure = rank_movement(before, after, grades=collection.qrels[query], labels=labels)
        values = f"{first.each[measure][query]:.4f} to {row.each[measure][query]:.4f}"
        title = f"{query}: {collection.queries[query]} ({measure} {values} by {row.name})"
        drawn.append((title, _address(figure)))
    return drawn


def _address(figure: "Figure") -> str:
    """A picture as an address that holds it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(as_svg(figure).encode()).decode()}"


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
