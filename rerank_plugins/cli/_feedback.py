"""``rerank-plugins feedback``: the effect of relevance feedback on a collection's recall."""

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._extras import extra
from ..backends import LateInteractionBackend
from ..errors import InputError
from ..evaluation import Collection, interval, judged_run, load_collection, load_run
from ..presets import DEFAULT_PRESET
from ._arguments import (
    RERANKER_HELP,
    instruction_option,
    is_json,
    json_option,
    named_reranker,
    parse_json,
    queries_option,
    split_option,
    strategy_spec,
)
from ._terminal import synthetic_note, to_json, write_table

if TYPE_CHECKING:  # imported late: they need numpy
    from ..feedback import FaissIndex
    from ..feedback.measure import Comparison, Teacher

METHOD_HELP = "safe, bold, refit, first, qdrant-naive or sefr; with constants as JSON."
ENCODER = DEFAULT_PRESET  # its encoder: MiniLM, which comes with the library
Encode = Callable[..., Any]  # texts, and which of both they are: "query" or "passage"


@click.command()
@click.argument("collection")
@split_option
@click.option(
    "--first-stage",
    type=click.Choice(["dense", "bm25"]),
    default="dense",
    show_default=True,
    help="An encoder and FAISS; or BM25, where feedback adds words to the query.",
)
@click.option("--encoder", metavar="NAME", help=f"A dense encoder.  [default: {ENCODER}]")
@click.option("--index", help="A folder that keeps the vectors for the next run.")
@click.option("--reranker", "--model", metavar="NAME", help=RERANKER_HELP)
@instruction_option
@click.option("--strategy", help="How it ranks: a name, or a spec, as JSON or in a file.")
@click.option("--run", help="A TREC run instead of a reranker: its order is the reranker's.")
@click.option(
    "--method",
    default="safe",
    show_default=True,
    callback=lambda _, __, given: parse_json(given, "--method") if is_json(given) else given,
    help="safe, bold, refit, first, qdrant-naive or sefr; or JSON.",
)
@click.option("--k", default=100, show_default=True, help="Hits of each search.")
@click.option("--depth", type=int, help="Hits that are reranked.  [default: all]")
@click.option("--rounds", default=1, show_default=True, help="Refinements.")
@click.option("--head", type=int, help="Reranked hits on top when fused.  [default: 20]")
@click.option(
    "--expand",
    type=click.Choice(["query", "neighbours", "both"]),
    default="query",
    show_default=True,
    help="Search again with the refined query; rerank neighbours of the best; or both.",
)
@click.option("--neighbours", type=int, help="Neighbours of a passage.  [default: 16]")
@click.option("--measure", help="As ir_measures writes it.  [default: R@K]")
@queries_option
@click.option("--output", help="A file for one line per query, tab-separated.")
@click.option("--plot", help="A file for a scatter plot: .svg, .png or .pdf.")
@json_option("Print the summary as JSON.")
def feedback(
    collection: str,
    split: str,
    first_stage: str,
    encoder: str | None,
    index: str | None,
    reranker: str | None,
    instruction: str | None,
    strategy: str | None,
    run: str | None,
    measure: str | None,
    queries: int | None,
    output: str | None,
    plot: str | None,
    as_json: bool,
    expand: Any,
    neighbours: int | None,
    head: int | None,
    **options: Any,
) -> None:
    """Measure relevance feedback on COLLECTION: a BEIR folder, or irds:NAME.

    Searches with FAISS, reranks, refines the query's vector and searches again. Prints the recall
    of the first search, of the second, of a second one without any reranker (the control), and of
    the fused list. With --expand neighbours, the second line is that of the passages that were
    reranked and of the first search's after them. With --first-stage bm25, words of the passages
    that were ranked best are added to the query.
    """
    from ..feedback import BM25Index, FeedbackOptions
    from ..feedback.measure import compare, compare_words

    by_words = first_stage == "bm25"
    of_vectors = {"--encoder": encoder, "--index": index, "--neighbours": neighbours}
    _check_options(first_stage, expand, [n for n, given in of_vectors.items() if given is not None])
    options["neighbours"] = 16 if neighbours is None else neighbours
    loaded = load_collection(collection, split=split)
    spec = strategy_spec(strategy) if strategy else None
    teacher = _teacher(loaded, run, reranker, strategy=spec, instruction=instruction)
    if expand == "query":
        options["rerank_new"], head = False, 20 if head is None else head
        expand = "words" if by_words else expand
    chosen = FeedbackOptions(expand=expand, head=head, on_error="keep_order", **options)
    asked = dict(itertools.islice(loaded.queries.items(), queries))
    if not asked:
        raise InputError(f"no query of {collection!r} is judged in {split!r}", hint="Give --split.")
    name = measure or f"R@{chosen.k}"
    how: dict[str, Any] = {"teacher": teacher, "options": chosen, "measure": name}
    if by_words:
        words = BM25Index.build(loaded.documents.values(), ids=loaded.documents)
        rows = compare_words(loaded, words, asked, **how)
    else:
        encode = load_encoder(encoder or ENCODER)
        searched = collection_index(loaded, encode, index)
        vectors = dict(zip(asked, encode(list(asked.values()), "query"), strict=True))
        rows = compare(loaded, searched, vectors, **how)
    with click.progressbar(rows, length=len(asked), file=sys.stderr) as bar:
        found = list(bar)
    if as_json:
        said = feedback_numbers(found, name) | {"synthetic": loaded.synthetic or None}
        click.echo(to_json(said))
    else:
        click.echo("\n".join([summary(found, name), *synthetic_note(loaded.synthetic)]))
    if output:
        write_table(Path(output), [f.name for f in fields(found[0])], map(astuple, found))
    if plot:
        draw(found, name, Path(plot))


def _check_options(first_stage: str, expand: str, given: Sequence[str]) -> None:
    """Refuse options for vectors that would be ignored."""
    if expand != "query":
        given = ["--expand", *given]
    if first_stage == "bm25" and given:
        raise InputError(f"{given[0]} is for vectors, and --first-stage bm25 has none")
    if expand == "query" and "--neighbours" in given:
        raise InputError("--neighbours is for --expand neighbours, or both")


def _teacher(loaded: Collection, run: str | None, name: str | None, **options: Any) -> "Teacher":
    """The teacher: a run's order, or a reranker."""
    from ..feedback.measure import Teacher

    if not run:
        return Teacher.by_reranker(named_reranker(name, **options))
    if name or any(options.values()):
        raise InputError("give either --reranker or --run")
    return Teacher.by_run(judged_run(load_run(run), loaded))


def load_encoder(name: str) -> Encode:
    """An encoder of texts into vectors of length 1, which is loaded at its first call.

    Args:
        name: What `LateInteractionBackend` takes: a model that ships, a hub id or a folder.
    """
    return LateInteractionBackend(name, vectors="pooled").embed


def collection_index(collection: Collection, encode: Encode, folder: str | None) -> "FaissIndex":
    """The collection's index: loaded from the folder, or built and saved there."""
    from ..feedback import FaissIndex

    if folder and (Path(folder) / "manifest.json").exists():
        kept = FaissIndex.load(folder)
        if dict(zip(kept.ids, kept.texts, strict=True)) != collection.documents:
            problem = "another collection"
        else:
            old, new = kept.index.reconstruct(0), encode([kept.texts[0]])[0]
            if len(old) == len(new) and abs(old - new).max() <= 1e-3:
                return kept
            problem = "another encoder"
        raise InputError(f"the index in {folder!r} is of {problem}", hint="Give another --index.")
    click.echo(f"Encoding {len(collection.documents)} documents ...", err=True)
    texts = list(collection.documents.values())
    built = FaissIndex.build(encode(texts), ids=collection.documents, texts=texts)
    if folder:
        built.save(folder)
    return built


def summary(found: "Sequence[Comparison]", measure: str) -> str:
    """Means, intervals, and the numbers of queries that were helped and hurt."""
    numbers = feedback_numbers(found, measure)
    lines = [
        f"{len(found)} queries",
        f"{measure:<28} {'mean':<6}  {'change, 95 % interval':<27} {'helped':>6} {'hurt':>6}",
        f"{'first search':<28} {numbers['first']:.4f}",
    ]
    for name, key in (
        ("second search", "second"),
        ("  without a reranker", "control"),
        ("fused list", "fused"),
    ):
        part = numbers[key]
        low, high = part["interval"]
        change = f"{part['change']:+.4f} [{low:+.4f}, {high:+.4f}]"
        counts = f"{part['helped']:>6} {part['hurt']:>6}"
        lines.append(f"{name:<28} {part['mean']:.4f}  {change:<27} {counts}")
    lines += [f"no feedback for {n}: {reason}" for reason, n in numbers["skipped"].items()]
    return "\n".join(lines)


def feedback_numbers(found: "Sequence[Comparison]", measure: str) -> dict[str, Any]:
    """The values of `summary`, for JSON."""

    def part(values: Sequence[float]) -> dict[str, Any]:
        changes = [value - c.before for value, c in zip(values, found, strict=True)]
        return {
            "mean": sum(values) / len(found),
            "change": sum(changes) / len(found),
            "interval": list(interval(changes)),
            "helped": sum(change > 0 for change in changes),
            "hurt": sum(change < 0 for change in changes),
        }

    return {
        "measure": measure,
        "queries": len(found),
        "first": sum(c.before for c in found) / len(found),
        "second": part([c.after for c in found]),
        "control": part([c.control for c in found]),
        "fused": part([c.fused for c in found]),
        "skipped": dict(Counter(c.skipped for c in found if c.skipped)),
    }


def draw(found: "Sequence[Comparison]", measure: str, path: Path) -> None:
    """Draw every query as a point: its recall before and after.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: The file cannot be written, or its suffix names no format.
    """
    extra("matplotlib", "plots")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.axline((0, 0), slope=1, color="lightgray", zorder=0)
    for name, colour, part in (
        ("helped", "tab:green", [c for c in found if c.after > c.before]),
        ("hurt", "tab:red", [c for c in found if c.after < c.before]),
        ("as before", "tab:gray", [c for c in found if c.after == c.before]),
    ):
        points = [c.before for c in part], [c.after for c in part]
        axes.scatter(*points, color=colour, alpha=0.6, label=f"{name}: {len(part)}")
    axes.set(xlabel=f"{measure}, first search", ylabel=f"{measure}, second search", aspect="equal")
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the picture {str(path)!r}: {error}") from error
