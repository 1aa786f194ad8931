"""``rerank-plugins evaluate``: one or several rerankers on a collection."""

import itertools
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .._files import write_lines
from ..errors import InputError
from ..evaluation import (
    Collection,
    Comparison,
    Measured,
    Run,
    comparisons,
    judged_run,
    load_collection,
    load_run,
    measured,
)
from ..evaluation.report import effectiveness_cost, recall_by_depth, save, write_report
from ..jobs import Query, Trec, rank_file, read_manifest, run_requests
from ._arguments import (
    AT_LEAST_ONE,
    json_option,
    load_first_stage,
    named_reranker,
    queries_option,
    split_option,
)
from ._compare import difference_numbers
from ._terminal import FELL_BACK, progress, table, to_json, write_table


@click.command()
@click.argument("collection")
@click.option("--run", "runs", multiple=True, required=True, help="A TREC run; repeatable.")
@click.option("--reranker", "rerankers", multiple=True, help="Reranks the first run; repeatable.")
@split_option
@click.option("--measure", "measures", multiple=True, help="[default: nDCG@10, R@100]")
@click.option(
    "--depth",
    type=AT_LEAST_ONE,
    default=100,
    show_default=True,
    help="Passages reranked of each query.",
)
@queries_option
@click.option(
    "--batch-size",
    type=AT_LEAST_ONE,
    default=1,
    show_default=True,
    help="Queries ranked together.",
)
@click.option("--output", help="A folder for runs, report.html, pictures and numbers.")
@json_option("Print the table as JSON.")
def evaluate(
    collection: str,
    runs: Sequence[str],
    rerankers: Sequence[str],
    split: str,
    measures: Sequence[str],
    depth: int,
    queries: int | None,
    batch_size: int,
    output: str | None,
    as_json: bool,
) -> None:
    """Measure runs and rerankers on COLLECTION: a BEIR folder, or irds:NAME.

    The first --run is the first stage: every --reranker (a checkpoint, or a spec file) reranks
    it, and everything is compared with it. Measures are written as ir_measures does: nDCG@10,
    R@100, RR@10. With --output, the same command resumes an evaluation that was interrupted.

    \b
    rerank-plugins evaluate scifact --run bm25.trec
    rerank-plugins evaluate scifact --run bm25.trec --reranker castorini/first_mistral \\
        --reranker reranker.yaml --output results
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    loaded, names = load_collection(collection, split=split), measures or ("nDCG@10", "R@100")
    first, scores = load_first_stage(runs[0]) if rerankers else (load_run(runs[0]), None)
    read = zip(runs, [first, *map(load_run, runs[1:])], strict=True)
    found = {short_name(path): judged_run(run, loaded) for path, run in read}
    if len(found) < len(runs):
        raise InputError("two of the runs have the same name", hint="Rename one of the files.")
    found = {name: dict(itertools.islice(run.items(), queries)) for name, run in found.items()}
    rows = [measured(name, run, loaded.qrels, names) for name, run in found.items()]
    with nullcontext(output) if output else tempfile.TemporaryDirectory() as folder:
        for given in rerankers:
            name = unused_name(given, [row.name for row in rows])
            file = Path(folder) / "runs" / f"{name}.trec"
            requests = run_requests(loaded, rows[0].run, depth=depth, scores=scores)
            head, cost = _rerank(given, requests, file, len(rows[0].run), batch_size)
            run = {q: [*head.get(q, ()), *ids[depth:]] for q, ids in rows[0].run.items()}
            rows.append(measured(name, run, loaded.qrels, names, **cost))
        compared = comparisons(rows)
        if output:
            _write(Path(output), rows, compared, loaded)
    shown = to_json(ranker_numbers(rows, compared)) if as_json else ranker_table(rows, compared)
    click.echo(shown)
    if any(row.fallbacks for row in rows):
        sys.exit(FELL_BACK)


def short_name(path: str) -> str:
    """The name of a file or a checkpoint in the table.

    Examples:
        >>> short_name("runs/bm25.trec.gz"), short_name("castorini/first_mistral")
        ('bm25', 'first_mistral')
    """
    name = Path(path).name.removesuffix(".gz")
    for suffix in (".trec", ".run", ".txt", ".yaml", ".yml", ".json", ".gguf"):
        name = name.removesuffix(suffix)
    return "-".join(name.split()) or "ranker"


def unused_name(path: str, taken: Sequence[str]) -> str:
    """`short_name`, numbered where it is taken.

    Examples:
        >>> unused_name("mine.yaml", ["bm25", "mine"])
        'mine-2'
    """
    name = short_name(path)
    numbered = (f"{name}-{i}" for i in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def _rerank(
    given: str, requests: Iterable[Query], file: Path, queries: int, batch_size: int
) -> tuple[Run, dict[str, Any]]:
    """Rank requests into a TREC run, or resume it: the run, its usage and its fallbacks."""
    _make_folder(file.parent)
    reranker = named_reranker(given)
    with progress(file.stem, queries) as tell:
        form = Trec(tag=file.stem)
        rank_file(requests, reranker, file, form, batch_size=batch_size, progress=tell)
    reranker.close()
    manifest = read_manifest(file)
    usage = manifest.usage if manifest.queries == queries else None
    if usage is None:
        click.echo(f"{file.stem}: its cost is unknown, because it was interrupted", err=True)
    return load_run(file), {"usage": usage, "fallbacks": manifest.fallbacks}


def _write(
    folder: Path,
    rows: Sequence[Measured],
    compared: Sequence[Comparison | None],
    collection: Collection,
) -> None:
    """Write the numbers, the pictures and the page."""
    _make_folder(folder)
    measure = next(iter(rows[0].each))
    write_lines(folder / "summary.json", [to_json(ranker_numbers(rows, compared))])
    columns = {f"{row.name} {name}": values for row in rows for name, values in row.each.items()}
    write_table(
        folder / "queries.tsv",
        ["query", *columns],
        [[q, *(c.get(q, "") for c in columns.values())] for q in rows[0].each[measure]],
    )
    write_report(folder / "report.html", rows, collection)
    for suffix in (".svg", ".png"):
        save(effectiveness_cost(rows, measure), folder / f"effectiveness_cost{suffix}")
        save(recall_by_depth(rows, collection.qrels), folder / f"recall_by_depth{suffix}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {str(folder)!r}: {error}") from error


def ranker_table(rows: Sequence[Measured], compared: Sequence[Comparison | None]) -> str:
    """The means of each ranker, its comparison with the first one, and its cost.

    Args:
        rows: The rankers.
        compared: `comparisons` of them.
    """
    measure = next(iter(rows[0].each))
    header = ["ranker", *rows[0].each, f"Δ {measure}, 95 % interval", "p", "better/worse"]
    header += ["calls/query", "tokens/query", "s/query"]
    lines = []
    for row, other in zip(rows, compared, strict=True):
        change = ["", "", ""]
        if other:
            difference = f"{other.difference:+.4f} [{other.low:+.4f}, {other.high:+.4f}]"
            change = [difference, f"{other.p_value:.4f}", f"{other.wins}/{other.losses}"]
        cost = ["", "", ""]
        if row.usage and row.queries:
            calls, tokens, seconds = (row.cost_per_query(c) for c in ("calls", "tokens", "seconds"))
            cost = [f"{calls:.1f}", f"{tokens:.0f}", f"{seconds:.3f}"]
        lines.append([row.name, *(f"{v:.4f}" for v in row.measures.values()), *change, *cost])
    notes = [
        f"{row.name}: {row.unanswered} judged queries are not in the run, and not in the means"
        for row in rows
        if row.unanswered
    ] + [
        f"{row.name}: {row.fallbacks} queries kept their order, in part, because something failed"
        for row in rows
        if row.fallbacks
    ]
    return "\n".join([f"{rows[0].queries} queries", table(header, lines), *notes])


def ranker_numbers(
    rows: Sequence[Measured], compared: Sequence[Comparison | None]
) -> list[dict[str, Any]]:
    """The values of `ranker_table`, for JSON."""
    first = rows[0].name
    return [
        {
            "name": row.name,
            "queries": row.queries,
            "unanswered": row.unanswered,
            "fallbacks": row.fallbacks,
            "measures": row.measures,
            "usage": asdict(row.usage) if row.usage else None,
            "against": other
            and {"name": first, "measure": other.measure, **difference_numbers(other)},
        }
        for row, other in zip(rows, compared, strict=True)
    ]
