"""``rerank-plugins tune``: where the first stage is sure enough not to be reranked."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from .. import evaluation
from ..errors import InputError
from ..evaluation import Run, judged_run, load_collection, load_run, load_scores
from ..strategies import margin_of
from ._arguments import AT_LEAST_ONE, json_option, split_option
from ._compare import difference_numbers
from ._terminal import synthetic_note, to_json


@click.command()
@click.argument("run")
@click.option("--skip", type=float, default=0.3, show_default=True, help="A share of the queries.")
@click.option("--depth", type=AT_LEAST_ONE, default=100, show_default=True, help="As reranked.")
@click.option("--margin", type=float, help="Judge this margin instead of finding one.")
@click.option("--reranked", metavar="RUN", help="RUN after reranking: what a margin costs.")
@click.option("--collection", help="Its judgements, with --reranked: a BEIR folder, or irds:NAME.")
@split_option
@click.option("--measure", default="nDCG@10", show_default=True, help="As ir_measures writes it.")
@json_option("Print everything as JSON.")
def tune(
    run: str,
    skip: float,
    depth: int,
    margin: float | None,
    reranked: str | None,
    collection: str | None,
    split: str,
    measure: str,
    as_json: bool,
) -> None:
    """Find the margin of the strategy `when` that leaves out a share of RUN's queries.

    RUN is a TREC run with the first stage's scores. With --reranked and --collection, the command
    says what the margin costs. Tune on some queries, and judge the margin (--margin) on others.
    """
    scores = load_scores(run, depth=depth)
    margins = {query: margin_of([*found.values()]) for query, found in scores.items()}
    if margin is None:
        margin = margin_for([*margins.values()], skip)
    left_out = {q for q, found in margins.items() if found is not None and found >= margin}
    found: dict[str, Any] = {
        "margin": margin,
        "depth": depth,
        "queries": len(margins),
        "skipped": len(left_out),
    }
    lines = [
        f"margin {margin:.4g} leaves out {len(left_out)} of {len(margins)} queries "
        f"({len(left_out) / len(margins):.1%}) at depth {depth}"
    ]
    if reranked is not None:
        if collection is None:
            raise InputError(
                "--reranked needs judgements to say what a margin costs", hint="Add --collection."
            )
        loaded = load_collection(collection, split=split)
        first = judged_run({q: [*docs] for q, docs in scores.items()}, loaded)
        after = judged_run(load_run(reranked), loaded)
        gated = gated_run(first, after, left_out)
        cost = evaluation.compare(after, gated, loaded.qrels, measure)
        found |= {"measure": measure, "reranked": cost.first, "gated": cost.second}
        found |= difference_numbers(cost) | {"synthetic": loaded.synthetic or None}
        lines += [
            f"{measure}: all reranked {cost.first:.4f}, gated {cost.second:.4f}, "
            f"{cost.second - cost.first:+.4f} [{cost.low:+.4f}, {cost.high:+.4f}]",
            *synthetic_note(loaded.synthetic),
        ]
    click.echo(to_json(found) if as_json else "\n".join(lines))


def margin_for(margins: Sequence[float | None], skip: float) -> float:
    """The lowest margin that leaves out at most a share of the queries.

    Args:
        margins: One for each query, None where it has none.
        skip: The share, above 0 and below 1.

    Raises:
        InputError: The share is out of range, or no such margin leaves out a query.

    Examples:
        >>> margin_for([0.1, 0.4, 0.3, None], 0.5)
        0.3
    """
    if not 0 < skip < 1:
        raise InputError(f"--skip is {skip}, expected a number above 0 and below 1")
    known = sorted((margin for margin in margins if margin is not None), reverse=True)
    most = int(skip * len(margins) + 1e-9)
    fits = [
        margin
        for i, margin in enumerate(known[:most])
        if margin > 0 and [*known, -1][i + 1] < margin
    ]
    if not fits:
        raise InputError(
            f"no margin leaves out at most {skip:.0%} of {len(margins)} queries, of which "
            f"{len(known)} have one",
            hint="Give a run with scores of three or more documents for each query, or a larger "
            "share.",
        )
    return fits[-1]


def gated_run(first: Run, reranked: Run, left_out: set[str]) -> Mapping[str, Sequence[str]]:
    """The reranked run, with the first stage's order for the queries that are left out."""
    return {q: first[q] if q in left_out and q in first else found for q, found in reranked.items()}
