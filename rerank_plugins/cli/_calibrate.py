"""``rerank-plugins calibrate``: scores that become probabilities, and how true those are."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from .. import evaluation
from .._extras import extra
from .._files import replacing
from ..components import top_grade
from ..components._items import unit_of
from ..errors import InputError
from ..evaluation import (
    SCORES_ALONE,
    Collection,
    Probabilities,
    Reliability,
    ScoredList,
    judged_run,
    load_collection,
)
from ..jobs import Query, run_requests
from ..presets import DEFAULT_PRESET, is_spec, load_spec
from ..ranking import ScoreKind, by_score
from ..registry import to_spec
from ..reranker import Reranker
from ..strategies import Calibrated
from ._arguments import (
    AT_LEAST_ONE,
    chunk_option,
    in_chunks,
    instruction_option,
    is_json,
    json_option,
    named_reranker,
    parse_json,
    queries_option,
    reranker_option,
    split_option,
    strategy_spec,
)
from ._evaluate import first_queries
from ._first_stage import first_stage_options, found_runs
from ._terminal import FELL_BACK, progress, synthetic_note, table, to_json

_NUMBERS = ("slope", "intercept", "places", "k", "unplaced")


@click.command()
@click.argument("collection")
@reranker_option
@click.option("--strategy", metavar="SPEC", help="How it ranks, instead of its own strategy.")
@instruction_option
@chunk_option
@click.option("--run", "runs", multiple=True, help="A TREC run; instead of --first-stage.")
@first_stage_options
@split_option
@click.option("--depth", type=AT_LEAST_ONE, default=100, show_default=True, help="As reranked.")
@queries_option
@click.option("--min-grade", default=1, show_default=True, help="Relevant from this grade on.")
@click.option(
    "--places",
    type=click.Choice(["keep", "fit", "none"]),
    default="keep",
    show_default=True,
    help="What the first stage's order counts: as before, as fits best, or nothing.",
)
@click.option("--folds", default=5, show_default=True, help="Each is judged by the others.")
@click.option("--seed", default=0, show_default=True, help="Of the folds.")
@click.option("--output", metavar="FILE", help="A spec of the calibrated reranker: .json or .yaml.")
@json_option("Print everything as JSON.")
def calibrate(
    collection: str,
    reranker: str | None,
    strategy: str | None,
    instruction: str | None,
    chunk_words: int | None,
    runs: Sequence[str],
    split: str,
    depth: int,
    queries: int | None,
    min_grade: int,
    places: Literal["keep", "fit", "none"],
    folds: int,
    seed: int,
    output: str | None,
    as_json: bool,
    **search: Any,
) -> None:
    """Fit a reranker's probabilities to COLLECTION's judgements: a BEIR folder, or irds:NAME.

    Its scores become probabilities of being relevant, by logistic regression, and the order stays,
    except with --places fit or none. They are judged on queries that are held out, fold by fold,
    beside the probabilities that the reranker gave before; then fitted to all queries. What nobody
    judged counts as not relevant. With --output, FILE is a name for --reranker, load_reranker, and
    every component.

    \b
    rerank-plugins calibrate scifact --split train --first-stage bm25 --depth 20 \\
        --output calibrated.json
    rerank-plugins calibrate scifact --first-stage bm25 --depth 20 --reranker calibrated.json
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    way = strategy_spec(strategy) if strategy else None
    chosen = named_reranker(reranker, strategy=way, instruction=instruction)
    chosen = in_chunks(chosen, chunk_words)
    if output is not None and not is_spec(output):
        raise InputError(f"--output is {output!r}", hint="Give a name ending in .json or .yaml.")
    inner = chosen.strategy.inner if isinstance(chosen.strategy, Calibrated) else chosen.strategy
    Calibrated(inner)  # an error now and not when its scores are there
    loaded = load_collection(collection, split=split)
    found, scores = found_runs(loaded, runs, depth=depth, output=None, scored=True, **search)
    judged = {name: judged_run(run, loaded) for name, run in found.items()}
    run = next(iter(first_queries(judged, loaded.qrels, queries)[0].values()))
    asked = {q.query_id: q for q in run_requests(loaded, run, depth=depth, scores=scores)}
    plain = Reranker(inner, chosen.backend, on_error=chosen.on_error, limits=chosen.limits)
    lists, kind = _scored(plain, asked, loaded, min_grade)
    old = _numbers_of(chosen) if places == "keep" else SCORES_ALONE
    order = None if places == "fit" else old or SCORES_ALONE
    made = evaluation.calibrate([*lists.values()], folds=folds, seed=seed, order=order)
    before = _probabilities_of(chosen, [*lists.values()], kind)
    reliability = {
        "before": _reliability(before, lists),
        "after": made.after,
        "without_places": made.unplaced,
    }
    ranked = {"before": before, "after": [found.tolist() for found in made.held_out]}
    ndcg = {
        name: _ndcg(found, {q: asked[q] for q in lists}, loaded)
        for name, found in ranked.items()
        if found is not None
    }
    fitted = {name: float(f"{getattr(made.fitted, name):.6g}") for name in _NUMBERS}
    spec = _spec(reranker) | {"strategy": to_spec("strategies", Calibrated(inner, **fitted))}
    if output is not None:
        write_spec(Path(output), spec)
    numbers = {
        "queries": len(lists),
        "left_out": len(asked) - len(lists),
        "passages": made.after.passages,
        "relevant": made.after.relevant,
        "constant": made.after.constant,
        "folds": folds,
        **{
            name: None if one is None else _plain(one, ndcg.get(name))
            for name, one in reliability.items()
        },
        "fitted": fitted,
        "spec": spec,
        "synthetic": loaded.synthetic or None,
    }
    click.echo(to_json(numbers) if as_json else _text(numbers, output))
    if numbers["left_out"]:
        sys.exit(FELL_BACK)


def _scored(
    reranker: Reranker, asked: Mapping[str, Query], collection: Collection, min_grade: int
) -> tuple[dict[str, ScoredList], ScoreKind]:
    """The scores and judgements of each query that nothing failed for, and the kind of scores."""
    found: dict[str, ScoredList] = {}
    kind: ScoreKind = "rank"
    with progress("ranked", len(asked)) as tell:
        for name, query in asked.items():
            ranking = reranker.rank(query.text, query.passages)
            tell(1)
            if ranking.report.fallback:
                continue
            grades = collection.qrels[name]
            relevant = [grades.get(document, 0) >= min_grade for document in query.ids or ()]
            found[name] = ScoredList.of(ranking, query.passages, relevant)
            kind = ranking.score_kind
    reranker.close()
    return found, kind


def _numbers_of(reranker: Reranker) -> Probabilities | None:
    """The numbers of a reranker that is calibrated already; else None."""
    strategy = reranker.strategy
    if not isinstance(strategy, Calibrated):
        return None
    return Probabilities(**{name: getattr(strategy, name) for name in _NUMBERS})


def _probabilities_of(
    reranker: Reranker, lists: Sequence[ScoredList], kind: ScoreKind
) -> list[Sequence[float]] | None:
    """The reranker's own scores from 0 to 1; None where they have no such scale."""
    if (own := _numbers_of(reranker)) is not None:
        return [own.of(one).tolist() for one in lists]
    unit = unit_of(kind, top_grade(reranker.strategy), scale=True)
    return None if unit is None else [[unit(score) for score in one.scores] for one in lists]


def _reliability(
    probabilities: Sequence[Sequence[float]] | None, lists: Mapping[str, ScoredList]
) -> Reliability | None:
    if probabilities is None:
        return None
    relevant = [one for found in lists.values() for one in found.relevant]
    return Reliability.of([p for found in probabilities for p in found], relevant)


def _ndcg(
    probabilities: Sequence[Sequence[float]], asked: Mapping[str, Query], collection: Collection
) -> float:
    """The nDCG@10 of the order by probabilities."""
    run = {
        name: [(query.ids or ())[i] for i in by_score(found, "probability").order]
        for (name, query), found in zip(asked.items(), probabilities, strict=True)
    }
    return evaluation.evaluate(run, collection.qrels)["nDCG@10"]


def _plain(one: Reliability, ndcg: float | None) -> dict[str, float | None]:
    return {
        "brier": one.brier,
        "calibration_error": one.error,
        "mean": one.mean,
        "ndcg": ndcg,
    }


def _spec(name: str | None) -> dict[str, Any]:
    """The spec of a reranker by its name, to which a strategy is added."""
    if name is None:
        return {"model": DEFAULT_PRESET}
    if is_json(name):
        found = dict(parse_json(name, "--reranker"))
    else:
        found = load_spec(name) if is_spec(name) else {"model": name}
    found.pop("chunk_words", None)  # the strategy has them
    return found


def write_spec(path: Path, spec: Mapping[str, Any]) -> None:
    """Write a reranker's spec: JSON, or YAML by the file's name."""
    text = to_json(spec)
    if path.suffix != ".json":
        text = extra("yaml", "cli").safe_dump(dict(spec), sort_keys=False)
    with replacing(path) as file:
        file.write(f"{text.rstrip()}\n".encode())


def _text(numbers: Mapping[str, Any], output: str | None) -> str:
    share = f"{numbers['relevant']:.4f}"
    rows = [["a constant", f"{numbers['constant']:.4f}", "0.0000", share, ""]]
    for name in ("before", "after", "without_places"):
        if (one := numbers.get(name)) is not None:
            values = (one["brier"], one["calibration_error"], one["mean"], one["ndcg"])
            cells = ["" if value is None else f"{value:.4f}" for value in values]
            rows.append([name.replace("_", " "), *cells])
    fitted = ", ".join(f"{name}={value:g}" for name, value in numbers["fitted"].items())
    lines = [
        f"{numbers['queries']} queries, {numbers['passages']} passages, "
        f"{numbers['relevant']:.1%} relevant; held out in {numbers['folds']} folds",
        table(["", "Brier score", "calibration error", "mean", "nDCG@10"], rows),
        f"Calibrated({fitted})",
        f"written to {output}" if output else "--output FILE writes the calibrated reranker's spec",
    ]
    if numbers["left_out"]:
        lines.append(f"{numbers['left_out']} queries were left out, because something failed")
    return "\n".join([*lines, *synthetic_note(numbers["synthetic"] or "")])
