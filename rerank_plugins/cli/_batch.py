"""``rerank-plugins batch``: rank many queries on a Ray cluster."""

from dataclasses import asdict
from typing import Any

import click

from ..presets import is_spec, load_spec
from ..registry import to_spec
from ._arguments import RERANKER_HELP, instruction_option, json_option, named_reranker
from ._terminal import to_json


@click.command()
@click.argument("requests", metavar="INPUT", type=click.Path(exists=True))
@click.argument("output", type=click.Path(file_okay=False))
@click.option("--reranker", "--spec", metavar="NAME", help=RERANKER_HELP)
@instruction_option
@click.option("--top-k", type=int, help="Positions of each ranking.  [default: all]")
@click.option("--actors", default=2, show_default=True, help="The number of rerankers.")
@click.option("--batch-size", default=16, show_default=True, help="Queries ranked together.")
@click.option("--part-size", default=1000, show_default=True, help="Rows of a part.")
@click.option("--cpus-per-actor", default=0.5, show_default=True, help="Reserved by Ray.")
@click.option("--gpus-per-actor", default=0.0, show_default=True, help="Reserved by Ray.")
@click.option("--retry-failed", is_flag=True, help="Rank again the queries that failed before.")
@click.option("--trec", help="A file for the rankings as a TREC run.")
@json_option("Print the summary as JSON.")
def batch(
    requests: str,
    output: str,
    reranker: str | None,
    instruction: str | None,
    trec: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank the queries of INPUT into the folder OUTPUT, or resume a job that was interrupted.

    INPUT is a .jsonl or .parquet file, or a folder of them, with query_id, query, and passages or
    candidates ({id, text}); a row may have an instruction of its own. Read OUTPUT with
    rerank_plugins.jobs.ray.read_rankings.
    """
    from ..jobs.ray import rank_dataset, write_run

    given = load_spec(reranker) if reranker and is_spec(reranker) else {}
    if "backend" not in given:
        given = named_reranker(reranker, instruction=instruction).to_spec()
    elif instruction is not None:
        named = named_reranker(reranker, instruction=instruction)
        given = {**given, "strategy": to_spec("strategies", named.strategy)}
    counts = rank_dataset(requests, given, output, **options)
    if trec:
        write_run(output, trec)
    if counts.failed:
        click.echo(f"{output} has an error in each failed query's row", err=True)
    if as_json:
        click.echo(to_json(asdict(counts)))
        return
    click.echo(
        f"ranked {counts.ranked}, skipped as finished {counts.skipped}, failed {counts.failed}"
    )
