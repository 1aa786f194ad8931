"""``rerank-plugins compare``: two runs, query by query."""

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..evaluation import Comparison, Qrels, Run, compare, judged_run, load_collection, load_run
from ._printing import as_json, table


def command() -> Any:
    """``rerank-plugins compare``."""
    import click

    @click.command("compare")
    @click.argument("first")
    @click.argument("second")
    @click.option("--collection", required=True, help="A BEIR folder, or irds:NAME.")
    @click.option("--split", default="test", show_default=True, help="Which judgements.")
    @click.option("--measure", default="nDCG@10", show_default=True, help="As ir_measures has it.")
    @click.option("--show", default=5, show_default=True, help="Queries that changed most.")
    @click.option("--plot", help="A file for the movement of the most changed query.")
    @click.option("--json", "machine", is_flag=True, help="Everything, as JSON.")
    def compare_runs(
        first: str,
        second: str,
        collection: str,
        split: str,
        measure: str,
        show: int,
        plot: str | None,
        machine: bool,
    ) -> None:
        """Compare the TREC runs FIRST and SECOND: is SECOND better, for which queries?

        Tells the means, the 95 % interval of the difference, the p-value of a paired randomization
        test, wins and losses, and the queries that changed most.
        """
        loaded = load_collection(collection, split=split)
        runs = (judged_run(load_run(first), loaded), judged_run(load_run(second), loaded))
        found = compare(*runs, loaded.qrels, measure)
        lost = [
            sum(q in run and q not in other for q in loaded.qrels)
            for run, other in (runs, runs[::-1])
        ]
        click.echo(
            as_json(_numbers(found, lost)) if machine else _shown(found, loaded.queries, show, lost)
        )
        if plot:
            _draw(found, runs, loaded.qrels, plot)

    return compare_runs


def _shown(found: Comparison, queries: Mapping[str, str], show: int, lost: list[int]) -> str:
    lines = [
        f"{len(found.changes)} queries, {found.measure}",
        f"first       {found.first:.4f}",
        f"second      {found.second:.4f}",
        f"difference  {found.difference:+.4f}  [{found.low:+.4f}, {found.high:+.4f}]  "
        f"p = {found.p_value:.4f}",
        f"better {found.wins}, equal {found.ties}, worse {found.losses}",
    ]
    for name, other, n in zip(("first", "second"), ("second", "first"), lost, strict=True):
        if n:
            lines.append(f"{n} queries of the {name} run are not in the {other}, and not compared")
    rows = [[query, f"{change:+.4f}"] for query, change in found.most_changed(show)]
    if rows:
        shown = table(["changed most", "by"], rows).splitlines()
        texts = ["", *(queries[query] for query, _ in found.most_changed(show))]
        lines += [
            "",
            *(f"{a}  {b}".rstrip() for a, b in zip(shown, texts, strict=True)),
        ]
    return "\n".join(lines)


def _numbers(found: Comparison, lost: list[int]) -> dict[str, Any]:
    return {
        "measure": found.measure,
        "first": found.first,
        "second": found.second,
        "difference": found.difference,
        "interval": [found.low, found.high],
        "p_value": found.p_value,
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
        "not_compared": {"first": lost[0], "second": lost[1]},
        "changes": dict(found.changes),
    }


def _draw(found: Comparison, runs: tuple[Run, Run], qrels: Qrels, path: str) -> None:
    from ..evaluation.report import rank_movement, save
    from ..evaluation.report._pictures import reordered

    changed = found.most_changed(1)
    if not changed:
        raise InputError("no query changed, so there is no movement to draw")
    query, change = changed[0]
    before, after = reordered(*runs, query)
    title = f"{query}: {change:+.4f} {found.measure}"
    save(rank_movement(before, after, grades=qrels[query], title=title), path)
