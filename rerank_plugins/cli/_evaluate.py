"""``rerank-plugins evaluate``: one or several rerankers on a collection."""

import csv
import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from ..jobs import Trec, rank_file, read_manifest
from ..jobs._requests import Query, run_requests
from ._inputs import scores_of
from ._printing import FELL_BACK, as_json, progress, table
from ._specs import named_reranker


def command() -> Any:
    """``rerank-plugins evaluate``."""
    import click

    @click.command()
    @click.argument("collection")
    @click.option("--run", "runs", multiple=True, required=True, help="A TREC run; repeatable.")
    @click.option(
        "--reranker", "rerankers", multiple=True, help="Reranks the first run; repeatable."
    )
    @click.option("--split", default="test", show_default=True, help="Which judgements.")
    @click.option("--measure", "measures", multiple=True, help="[default: nDCG@10, R@100]")
    @click.option(
        "--depth",
        type=click.IntRange(min=1),
        default=100,
        show_default=True,
        help="Passages that are reranked.",
    )
    @click.option("--queries", type=click.IntRange(min=1), help="Only the first so many.")
    @click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Queries ranked together.",
    )
    @click.option("--output", help="A folder for runs, report.html, pictures and numbers.")
    @click.option("--json", "machine", is_flag=True, help="The table as JSON.")
    def evaluate(
        collection: str,
        runs: Sequence[str],
        rerankers: Sequence[str],
        split: str,
        measures: Sequence[str],
        queries: int | None,
        output: str | None,
        machine: bool,
        **options: Any,
    ) -> None:
        """Measure runs and rerankers on COLLECTION: a BEIR folder, or irds:NAME.

        The first --run is the first stage: every --reranker (a checkpoint, or a spec file)
        reranks it, and everything is compared with it. Measures are written as ir_measures does:
        nDCG@10, R@100, RR@10. With --output, an interrupted evaluation goes on where it stopped.

        \b
        rerank-plugins evaluate scifact --run bm25.trec
        rerank-plugins evaluate scifact --run bm25.trec --reranker castorini/first_mistral \\
            --reranker reranker.yaml --output results
        """  # noqa: D301 - click's mark for lines that are not to be filled
        loaded = load_collection(collection, split=split)
        names = measures or ("nDCG@10", "R@100")
        found = {_name(path): _first(load_run(path), loaded, queries) for path in runs}
        if len(found) < len(runs):
            raise InputError("two of the runs have the same name")
        with _folder(output) as folder:
            rows = [measured(name, run, loaded.qrels, names) for name, run in found.items()]
            first = next(iter(found.values()))
            scores = scores_of(runs[0]) if rerankers else None
            for given in rerankers:
                file = folder / "runs" / f"{_unused(given, [r.name for r in rows])}.trec"
                requests = run_requests(loaded, first, depth=options["depth"], scores=scores)
                rows.append(_reranked(given, file, first, requests, loaded, names, options))
            compared = comparisons(rows)
            if output:
                _write(folder, rows, loaded)
        click.echo(as_json(_numbers(rows, compared)) if machine else _table(rows, compared))
        if any(row.fallbacks for row in rows):
            sys.exit(FELL_BACK)

    return evaluate


def _reranked(
    given: str,
    file: Path,
    first: Run,
    requests: Iterable[Query],
    collection: Collection,
    measures: Sequence[str],
    options: Mapping[str, Any],
) -> Measured:
    """The first stage in a reranker's order, measured."""
    depth = options["depth"]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {str(file.parent)!r}: {error}") from error
    reranker = named_reranker(given)
    with progress(file.stem, len(first)) as tell:
        rank_file(
            requests,
            reranker,
            file,
            Trec(tag=file.stem),
            batch_size=options["batch_size"],
            progress=tell,
        )
    reranker.close()
    manifest = read_manifest(file)
    head = load_run(file)
    run = {query: [*head.get(query, ()), *found[depth:]] for query, found in first.items()}
    usage = manifest.usage if manifest.queries == len(first) else None
    if usage is None:
        import click

        click.echo(f"{file.stem}: what it cost is not known, for it was interrupted", err=True)
    return measured(
        file.stem, run, collection.qrels, measures, usage=usage, fallbacks=manifest.fallbacks
    )


def _first(run: Run, collection: Collection, queries: int | None) -> Run:
    """The first judged queries of a run."""
    return dict(itertools.islice(judged_run(run, collection).items(), queries))


def _name(path: str) -> str:
    """What the table calls a file or a checkpoint."""
    name = Path(path).name.removesuffix(".gz")
    for suffix in (".trec", ".run", ".txt", ".yaml", ".yml", ".json", ".gguf"):
        name = name.removesuffix(suffix)
    return "-".join(name.split()) or "ranker"


def _unused(given: str, taken: Sequence[str]) -> str:
    name = _name(given)
    others = (f"{name}-{i}" for i in itertools.count(2))
    return name if name not in taken else next(other for other in others if other not in taken)


@contextmanager
def _folder(output: str | None) -> Iterator[Path]:
    if output:
        yield Path(output)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def _write(folder: Path, rows: Sequence[Measured], collection: Collection) -> None:
    """Numbers, pictures and the page."""
    from ..evaluation.report import effectiveness_cost, recall_by_depth, save, write_report

    measure = next(iter(rows[0].each))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = as_json(_numbers(rows, comparisons(rows)))
        (folder / "summary.json").write_text(text + "\n", "utf-8")
        with (folder / "queries.tsv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(["query", *(f"{row.name} {m}" for row in rows for m in row.each)])
            for query in rows[0].each[measure]:
                values = [v.get(query, "") for row in rows for v in row.each.values()]
                writer.writerow([query, *values])
    except OSError as error:
        raise InputError(f"cannot write to {str(folder)!r}: {error}") from error
    write_report(folder / "report.html", rows, collection)
    for suffix in (".svg", ".png"):
        save(effectiveness_cost(rows, measure), folder / f"effectiveness_cost{suffix}")
        save(recall_by_depth(rows, collection.qrels), folder / f"recall_by_depth{suffix}")


def _table(rows: Sequence[Measured], compared: Sequence[Comparison | None]) -> str:
    from ..evaluation.report._pictures import cost_per_query

    measure = next(iter(rows[0].each))
    header = ["ranker", *rows[0].each, f"Δ {measure}, 95 % interval", "p", "better/worse"]
    header += ["calls/query", "tokens/query", "s/query"]
    lines = []
    for row, other in zip(rows, compared, strict=True):
        change = ["", "", ""]
        if other:
            ends = f"[{other.low:+.4f}, {other.high:+.4f}]"
            change = [f"{other.difference:+.4f} {ends}", f"{other.p_value:.4f}"]
            change += [f"{other.wins}/{other.losses}"]
        costs = [cost_per_query(row, kind) for kind in ("calls", "tokens", "seconds")]
        shown = [
            "" if cost is None else f"{cost:.{digits}f}"
            for cost, digits in zip(costs, (1, 0, 3), strict=True)
        ]
        lines.append([row.name, *(f"{v:.4f}" for v in row.measures.values()), *change, *shown])
    notes = [
        f"{row.name}: {row.unanswered} judged queries are not in the run, and in no mean"
        for row in rows
        if row.unanswered
    ] + [
        f"{row.name}: {row.fallbacks} queries kept their order, in part, because something failed"
        for row in rows
        if row.fallbacks
    ]
    return "\n".join([f"{rows[0].queries} queries", table(header, lines), *notes])


def _numbers(
    rows: Sequence[Measured], compared: Sequence[Comparison | None]
) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            "queries": row.queries,
            "unanswered": row.unanswered,
            "fallbacks": row.fallbacks,
            "measures": row.measures,
            "usage": asdict(row.usage) if row.usage else None,
            "against": None
            if other is None
            else {
                "name": rows[0].name,
                "measure": other.measure,
                "difference": other.difference,
                "interval": [other.low, other.high],
                "p_value": other.p_value,
                "wins": other.wins,
                "ties": other.ties,
                "losses": other.losses,
            },
        }
        for row, other in zip(rows, compared, strict=True)
    ]
