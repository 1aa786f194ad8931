"""``rerank-plugins feedback``: what relevance feedback does to a collection's recall."""

import csv
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from ..evaluation import Collection
    from ..feedback import FaissIndex
    from ..feedback.measure import Comparison, Teacher

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
Encode = Callable[[Sequence[str]], Any]


def command() -> Any:
    """``rerank-plugins feedback``."""
    import click

    @click.command()
    @click.argument("folder", type=click.Path(exists=True, file_okay=False))
    @click.option("--split", default="test", show_default=True, help="Which judgements.")
    @click.option("--encoder", default=ENCODER, show_default=True, help="A dense encoder.")
    @click.option("--index", help="A folder to keep the vectors in, and to take them from.")
    @click.option("--model", help="The reranker: a checkpoint, a folder or a GGUF file.")
    @click.option("--strategy", help="How it ranks: a name, or a spec as JSON.")
    @click.option("--run", help="A TREC run instead of a model: its order is the reranker's.")
    @click.option("--method", default="safe", show_default=True, help="safe, bold, refit or first.")
    @click.option("--k", default=100, show_default=True, help="Hits of each search.")
    @click.option("--depth", type=int, help="Hits that are reranked.  [default: all]")
    @click.option("--rounds", default=1, show_default=True, help="Refinements.")
    @click.option("--head", default=20, show_default=True, help="Reranked hits on top when fused.")
    @click.option("--measure", help="As ir_measures writes it.  [default: R@K]")
    @click.option("--queries", type=click.IntRange(min=1), help="Only the first so many.")
    @click.option("--output", help="A file for a line of each query, tab-separated.")
    @click.option("--plot", help="A file for a scatter picture: .svg, .png or .pdf.")
    def feedback(
        folder: str,
        split: str,
        encoder: str,
        index: str | None,
        queries: int | None,
        measure: str | None,
        output: str | None,
        plot: str | None,
        **given: Any,
    ) -> None:
        """Measure relevance feedback on a BEIR FOLDER.

        Searches with FAISS, reranks, refines the query's vector and searches again. Tells the
        recall of the first search, of the second, of a second one without any reranker (the
        control), and of the fused list.
        """
        from ..evaluation import load_collection
        from ..feedback import FeedbackOptions
        from ..feedback.measure import compare

        collection = load_collection(folder, split=split)
        teacher = _teacher(given.pop("model"), given.pop("strategy"), given.pop("run"), collection)
        options = FeedbackOptions(rerank_new=False, on_error="keep_order", **given)
        encode = _encoder(encoder)
        built = _index(collection, encode, index, lambda text: click.echo(text, err=True))
        chosen = dict(itertools.islice(collection.queries.items(), queries))
        if not chosen:
            raise InputError(f"no query of {folder!r} is judged in {split!r}")
        vectors = dict(zip(chosen, encode(list(chosen.values())), strict=True))
        name = measure or f"R@{options.k}"
        rows = compare(collection, built, vectors, teacher=teacher, options=options, measure=name)
        with click.progressbar(rows, length=len(vectors), file=sys.stderr) as bar:
            found = list(bar)
        click.echo(summary(found, name))
        if output:
            write(found, Path(output))
        if plot:
            draw(found, name, Path(plot))

    return feedback


def summary(found: "Sequence[Comparison]", measure: str) -> str:
    """Means, intervals, and how many queries were helped and hurt."""
    from ..evaluation import interval

    def line(name: str, attribute: str) -> str:
        changes = [getattr(c, attribute) - c.before for c in found]
        mean = sum(getattr(c, attribute) for c in found) / len(found)
        low, high = interval(changes)
        helped, hurt = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        change = f"{sum(changes) / len(found):+.4f} [{low:+.4f}, {high:+.4f}]"
        return f"{name:<28} {mean:.4f}  {change:<27} {helped:>6} {hurt:>6}"

    before = sum(c.before for c in found) / len(found)
    reasons = [c.skipped for c in found if c.skipped]
    lines = [
        f"{len(found)} queries",
        f"{measure:<28} {'mean':<6}  {'change, 95 % interval':<27} {'helped':>6} {'hurt':>6}",
        f"{'first search':<28} {before:.4f}",
        line("second search", "after"),
        line("  without a reranker", "control"),
        line("fused list", "fused"),
    ]
    lines += [f"no feedback for {reasons.count(r)}: {r}" for r in dict.fromkeys(reasons)]
    return "\n".join(lines)


def write(found: "Sequence[Comparison]", path: Path) -> None:
    """A line for each query."""
    with _opened(path) as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow([f.name for f in fields(found[0])] if found else [])
        writer.writerows(astuple(row) for row in found)


def draw(found: "Sequence[Comparison]", measure: str, path: Path) -> None:
    """Every query as a point: its recall before and after.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: The file cannot be written, or not in that format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib is not installed",
            hint='Install it with: pip install "rerank-plugins[plots]".',
        ) from error
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    kinds = (
        ("helped", "tab:green", [c for c in found if c.after > c.before]),
        ("hurt", "tab:red", [c for c in found if c.after < c.before]),
        ("as before", "tab:gray", [c for c in found if c.after == c.before]),
    )
    axes.axline((0, 0), slope=1, color="lightgray", zorder=0)
    for name, colour, part in kinds:
        label = f"{name}: {len(part)}"
        points = [c.before for c in part], [c.after for c in part]
        axes.scatter(*points, color=colour, alpha=0.6, label=label)
    axes.set(xlabel=f"{measure}, first search", ylabel=f"{measure}, second search", aspect="equal")
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the picture {str(path)!r}: {error}") from error


def _teacher(
    model: str | None, strategy: str | None, run: str | None, collection: "Collection"
) -> "Teacher":
    """What ranks: a model, or a run."""
    from ..evaluation import judged_run, load_run
    from ..feedback.measure import Teacher
    from ..presets import load_reranker

    if (model is None) == (run is None):
        raise InputError("give either --model or --run")
    if run is not None:
        return Teacher.by_run(judged_run(load_run(run), collection))
    assert model is not None  # noqa: S101 - one of the two was given
    return Teacher.by_reranker(load_reranker(model, strategy=_spec(strategy)))


def _spec(strategy: str | None) -> Any:
    """A strategy's name, or its spec where it is JSON."""
    if strategy is None or not strategy.lstrip().startswith("{"):
        return strategy
    try:
        return json.loads(strategy)
    except ValueError as error:
        raise InputError(f"--strategy is not JSON: {error}") from error


def _encoder(name: str) -> Encode:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            "sentence-transformers is not installed",
            hint='Install it with: pip install "rerank-plugins[cross-encoder]".',
        ) from error
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load the encoder {name!r}: {error}") from error
    return lambda texts: model.encode(
        list(texts), normalize_embeddings=True, show_progress_bar=False
    )


def _index(
    collection: "Collection", encode: Encode, folder: str | None, echo: Callable[[str], None]
) -> "FaissIndex":
    """The index of a collection: the one that was kept, or a new one."""
    from ..feedback import FaissIndex

    if folder and (Path(folder) / "manifest.json").exists():
        kept = FaissIndex.load(folder)
        if dict(zip(kept.ids, kept.texts, strict=True)) != collection.documents:
            raise InputError(
                f"the index in {folder!r} is of another collection", hint="Give another --index."
            )
        own, again = kept.index.reconstruct(0), encode([kept.texts[0]])[0]
        if len(own) != len(again) or abs(own - again).max() > 1e-3:
            raise InputError(
                f"the index in {folder!r} is of another encoder", hint="Give another --index."
            )
        return kept
    echo(f"Encoding {len(collection.documents)} documents ...")
    texts = list(collection.documents.values())
    built = FaissIndex.build(encode(texts), ids=collection.documents, texts=texts)
    if folder:
        built.save(folder)
    return built


def _opened(path: Path) -> Any:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error}") from error
