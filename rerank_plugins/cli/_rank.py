"""``rerank-plugins rank``: files of queries in, rankings out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from ..errors import InputError
from ..evaluation import load_collection
from ..jobs import FORMATS, Query, rank_file, rank_stream, read_requests, run_requests
from ..ranking import Cut
from ..reranker import Reranker
from ._arguments import (
    AT_LEAST_ONE,
    chunk_option,
    in_chunks,
    instruction_option,
    json_option,
    load_first_stage,
    named_reranker,
    reranker_option,
    split_option,
)
from ._terminal import FELL_BACK, progress, to_json

PIPE = "-"


@click.command()
@click.argument("requests", metavar="INPUT")
@click.argument("output", default=PIPE)
@reranker_option
@instruction_option
@click.option("--collection", help="A BEIR folder or irds:NAME: INPUT is then a TREC run.")
@split_option
@click.option("--depth", type=AT_LEAST_ONE, help="Passages of each query of a run.")
@click.option("--top-k", type=AT_LEAST_ONE, help="Positions of each ranking.")
@click.option("--score-threshold", type=float, help="Leave out what has a lower score.")
@click.option("--cut-at-gap", is_flag=True, help="Leave out what is below the largest drop.")
@click.option("--keep-at-least", type=int, default=0, help="What both leave in any case.")
@chunk_option
@click.option("--batch-size", default=8, show_default=True, help="Queries ranked together.")
@click.option("--format", "form", type=click.Choice(sorted(FORMATS)), help="The format of OUTPUT.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "keep_order"]),
    help="keep_order: a failure keeps the input's order, and the exit code is 3.",
)
@json_option("Print the summary as JSON.")
def rank(
    requests: str,
    output: str,
    reranker: str | None,
    instruction: str | None,
    form: str | None,
    on_error: Literal["raise", "keep_order"] | None,
    as_json: bool,
    collection: str | None,
    split: str,
    depth: int | None,
    chunk_words: int | None,
    score_threshold: float | None,
    cut_at_gap: bool,
    keep_at_least: int,
    **options: Any,
) -> None:
    """Rank the queries of INPUT into OUTPUT, or resume where an earlier call was interrupted.

    INPUT is JSON Lines with query_id, query, and passages (texts) or candidates ({id, text}), or,
    with --collection, a TREC run. A line may have an instruction of its own. OUTPUT is a TREC run
    (.trec, .txt or .run) or JSON Lines (.jsonl); "-" is standard input or output.

    A manifest beside OUTPUT records what made it. The same command again ranks what is missing.

    \b
    rerank-plugins rank queries.jsonl out.jsonl
    rerank-plugins rank queries.jsonl out.jsonl --reranker castorini/first_mistral
    rerank-plugins rank bm25.trec out.trec --collection scifact --reranker reranker.yaml
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    chosen = in_chunks(named_reranker(reranker, instruction=instruction), chunk_words)
    cut = Cut(score_threshold=score_threshold, cut_at_gap=cut_at_gap, keep_at_least=keep_at_least)
    if cut != Cut():
        options["cut"] = cut
    if on_error:
        parts = (chosen.strategy, chosen.backend)
        chosen = Reranker(*parts, on_error=on_error, limits=chosen.limits)
    json_lines = output == PIPE or Path(output).suffix in (".jsonl", ".ndjson")
    layout = FORMATS[form or ("jsonl" if json_lines else "trec")]()
    with _queries(requests, collection, split, depth) as queries, progress("ranked") as tell:
        if output == PIPE:
            counts = rank_stream(queries, chosen, sys.stdout, layout, progress=tell, **options)
        else:
            counts = rank_file(queries, chosen, output, layout, progress=tell, **options)
    usage = counts.usage
    summary = (
        f"ranked {counts.ranked}, skipped as finished {counts.skipped}, "
        f"fell back {counts.fallbacks}; {usage.calls} calls, "
        f"{usage.prompt_tokens + usage.generated_tokens} tokens, {usage.seconds:.1f} s"
    )
    if usage.loading_seconds:
        summary += f"; loading the model took {usage.loading_seconds:.1f} s"
    click.echo(to_json(asdict(counts)) if as_json else summary, err=output == PIPE)
    if counts.fallbacks:
        sys.exit(FELL_BACK)


@contextmanager
def _queries(
    name: str, collection: str | None, split: str, depth: int | None
) -> Iterator[Iterator[Query]]:
    """The queries of a file, of standard input, or of a run."""
    if collection:
        loaded = load_collection(collection, split=split)
        run, scores = load_first_stage(name)
        yield run_requests(loaded, run, depth=depth, scores=scores)
    elif depth:
        raise InputError("--depth is for runs", hint="Give --collection too.")
    elif name == PIPE:
        yield read_requests(sys.stdin.buffer, "standard input")
    else:
        try:
            file = Path(name).open("rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise InputError(f"cannot read {name!r}: {error}") from error
        with file:
            yield read_requests(file, name)
