"""``rerank-plugins rank``: files of queries in, rankings out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..jobs import FORMATS, Counts, rank_file, ranked
from ..jobs._requests import Query, read_requests, run_requests
from ..reranker import Reranker
from ._inputs import scores_of
from ._printing import FELL_BACK, as_json, progress
from ._specs import named_reranker

PIPE = "-"


def command() -> Any:
    """``rerank-plugins rank``."""
    import click

    @click.command()
    @click.argument("requests", metavar="INPUT")
    @click.argument("output", default=PIPE)
    @click.option("--reranker", required=True, help="A checkpoint, or a spec file.")
    @click.option("--collection", help="A BEIR folder or irds:NAME: INPUT is then a TREC run.")
    @click.option("--split", default="test", show_default=True, help="Queries of the collection.")
    @click.option("--depth", type=click.IntRange(min=1), help="Passages of a run's query.")
    @click.option("--top-k", type=click.IntRange(min=1), help="Positions of each ranking.")
    @click.option("--batch-size", default=8, show_default=True, help="Queries ranked together.")
    @click.option("--format", "form", type=click.Choice(sorted(FORMATS)), help="Of OUTPUT.")
    @click.option(
        "--on-error",
        type=click.Choice(["raise", "keep_order"]),
        help="keep_order: what fails keeps its order, and the exit code is 3.",
    )
    @click.option("--json", "machine", is_flag=True, help="The summary as JSON.")
    def rank(requests: str, output: str, reranker: str, machine: bool, **given: Any) -> None:
        """Rank the queries of INPUT into OUTPUT, or go on where that was interrupted.

        INPUT is JSON Lines with query_id, query, and passages (texts) or candidates ({id, text}),
        or, with --collection, a TREC run. OUTPUT is a TREC run (.trec, .txt or .run) or JSON Lines
        (.jsonl); "-" is standard input or output.

        Beside OUTPUT a manifest says what made it. The same command again ranks what is missing.

        \b
        rerank-plugins rank queries.jsonl out.jsonl --reranker castorini/first_mistral
        rerank-plugins rank bm25.trec out.trec --collection scifact --reranker reranker.yaml
        """  # noqa: D301 - click's mark for lines that are not to be filled
        source = (given.pop("collection"), given.pop("split"), given.pop("depth"))
        loaded = _with_policy(named_reranker(reranker), given.pop("on_error"))
        form = FORMATS[given.pop("form") or _kind(output)]()
        with _requests(requests, *source) as queries, progress("ranked") as tell:
            if output == PIPE:
                found = ranked(queries, loaded, sys.stdout, form, progress=tell, **given)
            else:
                found = rank_file(queries, loaded, output, form, progress=tell, **given)
        click.echo(as_json(asdict(found)) if machine else summary(found), err=output == PIPE)
        if found.fallbacks:
            sys.exit(FELL_BACK)

    return rank


def summary(found: Counts) -> str:
    """What was done, in one line."""
    usage = found.usage
    return (
        f"ranked {found.ranked}, skipped as finished {found.skipped}, "
        f"fell back {found.fallbacks}; {usage.calls} calls, "
        f"{usage.prompt_tokens + usage.generated_tokens} tokens, {usage.seconds:.1f} s"
    )


def _kind(output: str) -> str:
    return "jsonl" if output == PIPE or Path(output).suffix in (".jsonl", ".ndjson") else "trec"


def _with_policy(reranker: Reranker, on_error: Literal["raise", "keep_order"] | None) -> Reranker:
    if on_error is None:
        return reranker
    parts = (reranker.strategy, reranker.backend)
    return Reranker(*parts, on_error=on_error, limits=reranker.limits)


@contextmanager
def _requests(
    name: str, collection: str | None, split: str, depth: int | None
) -> Iterator[Iterator[Query]]:
    """The queries of a file, of standard input, or of a run."""
    if collection:
        from ..evaluation import load_collection, load_run

        loaded = load_collection(collection, split=split)
        yield run_requests(loaded, load_run(name), depth=depth, scores=scores_of(name))
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
