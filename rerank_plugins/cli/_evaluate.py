"""``rerank-plugins evaluate``: one or several rerankers on a collection."""

import itertools
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
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
    Qrels,
    Run,
    comparisons,
    judged_run,
    load_collection,
    load_run,
    measured,
)
from ..evaluation.report import (
    differences,
    effectiveness_cost,
    recall_by_depth,
    save,
    write_report,
)
from ..jobs import Query, Trec, rank_file, read_manifest, run_requests
from ..reranker import Reranker
from ._arguments import (
    AT_LEAST_ONE,
    NAME_HELP,
    chunk_option,
    in_chunks,
    instruction_option,
    json_option,
    named_reranker,
    queries_option,
    reranker_label,
    split_option,
)
from ._compare import difference_numbers
from ._first_stage import first_stage_options, found_runs, short_name
from ._terminal import FELL_BACK, make_folder, progress, synthetic_note, table, to_json, write_table


@click.command()
@click.argument("collection")
@click.option("--run", "runs", multiple=True, help="A TREC run; repeatable.")
@first_stage_options
@click.option(
    "--reranker",
    "rerankers",
    metavar="NAME",
    multiple=True,
    help=f"Reranks the first stage; repeatable. {NAME_HELP}",
)
@instruction_option
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
@chunk_option
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
    instruction: str | None,
    split: str,
    measures: Sequence[str],
    depth: int,
    queries: int | None,
    chunk_words: int | None,
    batch_size: int,
    output: str | None,
    as_json: bool,
    **search: Any,
) -> None:
    """Measure runs and rerankers on COLLECTION: a BEIR folder, or irds:NAME.

    --first-stage searches the collection; without it, the first --run is the first stage. Every
    --reranker reranks it, and everything is compared with it.
    Measures are written as ir_measures does: nDCG@10, R@100, RR@10. With --output, the same command
    resumes an evaluation that was interrupted.

    \b
    rerank-plugins evaluate scifact --first-stage bm25
    rerank-plugins evaluate scifact --first-stage bm25 --reranker castorini/first_mistral \\
        --reranker reranker.yaml --output results
    rerank-plugins evaluate scifact --run bm25.trec --reranker reranker.yaml
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    if instruction and not rerankers:
        raise InputError("--instruction is for rerankers", hint="Give --reranker too.")
    # a name that is wrong is refused before anything is searched or ranked
    built = [
        in_chunks(named_reranker(given, instruction=instruction), chunk_words)
        for given in rerankers
    ]
    loaded, names = load_collection(collection, split=split), measures or ("nDCG@10", "R@100")
    found, scores = found_runs(
        loaded, runs, depth=depth, output=output, scored=bool(rerankers), **search
    )
    judged = {name: judged_run(run, loaded) for name, run in found.items()}
    found, qrels = first_queries(judged, loaded.qrels, queries)
    rows = [measured(name, run, qrels, names) for name, run in found.items()]
    with nullcontext(output) if output else tempfile.TemporaryDirectory() as folder:
        for given, reranker in zip(rerankers, built, strict=True):
            name = unused_name(given, [row.name for row in rows])
            file = Path(folder) / "runs" / f"{name}.trec"
            requests = run_requests(loaded, rows[0].run, depth=depth, scores=scores)
            head, cost = _rerank(reranker, requests, file, len(rows[0].run), batch_size)
            run = {q: [*head.get(q, ()), *ids[depth:]] for q, ids in rows[0].run.items()}
            rows.append(measured(name, run, qrels, names, **cost))
        compared = comparisons(rows)
        numbers = ranker_numbers(rows, compared, synthetic=loaded.synthetic)
        if output:
            _write(Path(output), rows, numbers, loaded)
    click.echo(
        to_json(numbers) if as_json else ranker_table(rows, compared, synthetic=loaded.synthetic)
    )
    if any(row.fallbacks for row in rows):
        sys.exit(FELL_BACK)


def first_queries(
    runs: Mapping[str, Run], qrels: Qrels, n: int | None
) -> tuple[dict[str, Run], Qrels]:
    """The first ``n`` queries of the first run, of all runs, and their judgements; all when None.

    Examples:
        >>> runs = {"one": {"q": ["a"], "r": ["b"]}, "two": {"r": ["b"], "q": ["c"]}}
        >>> first_queries(runs, {"q": {"a": 1}, "r": {"b": 1}}, 1)
        ({'one': {'q': ['a']}, 'two': {'q': ['c']}}, {'q': {'a': 1}})
    """
    if n is None:
        return dict(runs), qrels
    asked = list(next(iter(runs.values())))[:n]
    cut: dict[str, Run] = {
        name: {query: run[query] for query in asked if query in run} for name, run in runs.items()
    }
    return cut, {query: qrels[query] for query in asked}


def unused_name(path: str, taken: Sequence[str]) -> str:
    """`short_name`, numbered where it is taken.

    Examples:
        >>> unused_name("mine.yaml", ["bm25", "mine"])
        'mine-2'
    """
    name = short_name(reranker_label(path))
    numbered = (f"{name}-{i}" for i in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def _rerank(
    reranker: Reranker, requests: Iterable[Query], file: Path, queries: int, batch_size: int
) -> tuple[Run, dict[str, Any]]:
    """Rank requests into a TREC run, or resume it: the run, its usage and its fallbacks."""
    make_folder(file.parent)
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
    numbers: Mapping[str, Any],
    collection: Collection,
) -> None:
    """Write the numbers, the pictures and the page."""
    make_folder(folder)
    measure = next(iter(rows[0].each))
    write_lines(folder / "summary.json", [to_json(numbers)])
    columns = {f"{row.name} {name}": values for row in rows for name, values in row.each.items()}
    write_table(
        folder / "queries.tsv",
        ["query", *columns],
        [[q, *(c.get(q, "") for c in columns.values())] for q in rows[0].each[measure]],
    )
    write_report(folder / "report.html", rows, collection)
    for suffix in (".svg", ".png"):
        if len(rows) > 1:
            save(differences(rows, measure), folder / f"differences{suffix}")
        save(effectiveness_cost(rows, measure), folder / f"effectiveness_cost{suffix}")
        save(recall_by_depth(rows, collection.qrels), folder / f"recall_by_depth{suffix}")


def ranker_table(
    rows: Sequence[Measured], compared: Sequence[Comparison | None], *, synthetic: str = ""
) -> str:
    """The means of each ranker, its comparison with the first one, and its cost.

    Args:
        rows: The rankers.
        compared: `comparisons` of them.
        synthetic: Who gave the grades, where a model did.
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
    ]
    notes += [
        f"{row.name}: loading took {row.usage.loading_seconds:.1f} s, which are not in s/query"
        for row in rows
        if row.usage and row.usage.loading_seconds
    ]
    notes += [
        f"{row.name}: {row.fallbacks} queries kept their order, in part, because something failed"
        for row in rows
        if row.fallbacks
    ]
    filled = [any(column) for column in zip(*lines, strict=True)]
    kept = [list(itertools.compress(line, filled)) for line in (header, *lines)]
    shown = [f"{rows[0].queries} queries", table(kept[0], kept[1:]), *notes]
    return "\n".join([*shown, *synthetic_note(synthetic)])


def ranker_numbers(
    rows: Sequence[Measured], compared: Sequence[Comparison | None], *, synthetic: str = ""
) -> dict[str, Any]:
    """The values of `ranker_table`, for JSON."""
    first = rows[0].name
    rankers = [
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
    return {"synthetic": synthetic or None, "rankers": rankers}
