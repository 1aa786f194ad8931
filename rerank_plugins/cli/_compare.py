"""``rerank-plugins compare``: two runs, query by query."""

from collections.abc import Mapping
from typing import Any

import click

from .. import evaluation
from ..errors import InputError
from ..evaluation import Comparison, judged_run, load_collection, load_run
from ..evaluation.report import movement, rank_movement, save
from ._arguments import json_option, split_option
from ._terminal import synthetic_note, table, to_json


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--collection", required=True, help="A BEIR folder, or irds:NAME.")
@split_option
@click.option("--measure", default="nDCG@10", show_default=True, help="As ir_measures writes it.")
@click.option("--show", default=5, show_default=True, help="Queries that changed most.")
@click.option("--plot", help="A file for a picture of the most changed query's movement.")
@json_option("Print everything as JSON.")
def compare(
    first: str,
    second: str,
    collection: str,
    split: str,
    measure: str,
    show: int,
    plot: str | None,
    as_json: bool,
) -> None:
    """Compare the TREC runs FIRST and SECOND: is SECOND better, for which queries?

    Prints the means, the 95 % interval of the difference, the p-value of a paired randomization
    test, wins and losses, and the queries that changed most.
    """
    loaded = load_collection(collection, split=split)
    before, after = (judged_run(load_run(path), loaded) for path in (first, second))
    found = evaluation.compare(before, after, loaded.qrels, measure)
    lost = {
        name: sum(query in run and query not in other for query in loaded.qrels)
        for name, run, other in (("first", before, after), ("second", after, before))
    }
    if as_json:
        means = {"measure": found.measure, "first": found.first, "second": found.second}
        details = {"not_compared": lost, "changes": dict(found.changes)}
        details["synthetic"] = loaded.synthetic or None
        click.echo(to_json(means | difference_numbers(found) | details))
    else:
        lines = comparison_text(found, loaded.queries, show, lost)
        click.echo("\n".join([lines, *synthetic_note(loaded.synthetic)]))
    if plot:
        if not (changed := found.most_changed(1)):
            raise InputError("no query changed, so there is no movement to draw")
        query, change = changed[0]
        title = f"{query}: {change:+.4f} {found.measure}"
        sides = movement(before, after, query)
        save(rank_movement(*sides, grades=loaded.qrels[query], title=title), plot)


def comparison_text(
    found: Comparison, queries: Mapping[str, str], show: int, lost: Mapping[str, int]
) -> str:
    """The means, the test, and a table of the queries that changed most.

    Args:
        found: The comparison.
        queries: Texts by query id.
        show: Queries in the table.
        lost: How many queries are in the ``"first"`` run alone, and in the ``"second"`` alone.
    """
    lines = [
        f"{len(found.changes)} queries, {found.measure}",
        f"first       {found.first:.4f}",
        f"second      {found.second:.4f}",
        f"difference  {found.difference:+.4f}  [{found.low:+.4f}, {found.high:+.4f}]  "
        f"p = {found.p_value:.4f}",
        f"better {found.wins}, equal {found.ties}, worse {found.losses}",
    ]
    for name, other in (("first", "second"), ("second", "first")):
        if n := lost[name]:
            lines.append(f"{n} queries of the {name} run are not in the {other}, and not compared")
    if changed := found.most_changed(show):
        rows = [[query, f"{change:+.4f}"] for query, change in changed]
        texts = [queries[query] for query, _ in changed]
        lines += ["", table(["changed most", "by"], rows, texts)]
    return "\n".join(lines)


def difference_numbers(found: Comparison) -> dict[str, Any]:
    """The difference and its test, for JSON."""
    return {
        "difference": found.difference,
        "interval": [found.low, found.high],
        "p_value": found.p_value,
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
    }
