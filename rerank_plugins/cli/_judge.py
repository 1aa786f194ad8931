"""``rerank-plugins judge``: grades by a model, where people gave none."""

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click

from .._files import rows_of
from ..components import model_name
from ..errors import InputError
from ..evaluation import (
    Qrels,
    Run,
    check_run,
    load_collection,
    synthetic_origin,
    write_qrels,
)
from ..jobs import Jsonl, Query, rank_file, read_manifest, run_requests
from ..ranking import Usage
from ..reranker import Reranker
from ._arguments import (
    AT_LEAST_ONE,
    NAME_HELP,
    instruction_option,
    json_option,
    named_reranker,
    queries_option,
)
from ._first_stage import first_stage_options, found_runs, short_name
from ._terminal import FELL_BACK, make_folder, progress, synthetic_note, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Grades that a model gave.

    Attributes:
        qrels: Grade by query id and document id: of the passages that got one.
        synthetic: Who gave them.
        unreadable: Passages whose answer has no grade of the scale.
        failed: Passages whose call failed.
        usage: What the answers cost; None where it is not known.
    """

    qrels: Qrels
    synthetic: str
    unreadable: int
    failed: int
    usage: Usage | None

    def grades(self) -> dict[int, int]:
        """The number of passages by grade, the highest first."""
        given = Counter(grade for found in self.qrels.values() for grade in found.values())
        return dict(sorted(given.items(), reverse=True))


@click.command()
@click.argument("collection")
@click.option(
    "--run", "runs", multiple=True, help="A TREC run whose documents are judged; repeatable."
)
@first_stage_options
@click.option("--reranker", required=True, metavar="NAME", help=NAME_HELP)
@click.option("--output", required=True, help="The file of judgements: FOLDER/qrels/NAME.tsv.")
@click.option(
    "--depth",
    type=AT_LEAST_ONE,
    default=10,
    show_default=True,
    help="Documents of each run and query that are judged.",
)
@queries_option
@click.option("--prompt", default="umbrela.v1", show_default=True, help="A name, or a TOML file.")
@instruction_option
@click.option(
    "--max-tokens", type=AT_LEAST_ONE, help="The longest answer.  [default: the prompt's]"
)
@click.option(
    "--batch-size", type=AT_LEAST_ONE, default=16, show_default=True, help="Asked together."
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    show_default=True,
    help="skip: a passage whose call fails gets no grade.",
)
@json_option("Print the summary as JSON.")
def judge(
    collection: str,
    runs: Sequence[str],
    reranker: str,
    output: str,
    depth: int,
    queries: int | None,
    prompt: str,
    instruction: str | None,
    max_tokens: int | None,
    batch_size: int,
    on_error: Literal["raise", "skip"],
    as_json: bool,
    **search: Any,
) -> None:
    """Let a model grade the top documents of runs on COLLECTION, which needs no judgements.

    The model of --reranker is asked about each passage alone, with Umbrela's published prompt:
    grades from 0 to 3. It has no place for an --instruction; grades.v1 and erank.v1 have one. The
    file is marked as synthetic, and everything that is measured with it says so. A passage
    without a readable answer gets no grade, and the exit code is 3. The same command resumes where
    an earlier one stopped.

    \b
    rerank-plugins judge scifact --first-stage bm25 --reranker reranker.yaml \\
        --output scifact/qrels/judged.tsv
    rerank-plugins evaluate scifact --split judged --first-stage bm25 --reranker reranker.yaml
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    file, loaded = Path(output), load_collection(collection, split=None)
    if file.exists() and not synthetic_origin(file):
        raise InputError(f"{output!r} holds judgements of people", hint="Give another --output.")
    asked = {"prompt": prompt, "max_tokens": max_tokens, "weighted": False}
    # a name that is wrong is refused before anything is searched
    chosen = named_reranker(
        reranker, strategy={"name": "pointwise-grade", **asked}, instruction=instruction
    )
    found, _ = found_runs(loaded, runs, depth=depth, output=None, scored=False, **search)
    for run in found.values():
        check_run(run, loaded)
    pool = pooled(found.values(), depth=depth, queries=queries)
    judging = Reranker(
        chosen.strategy,
        chosen.backend,
        on_error="keep_order" if on_error == "skip" else "raise",
        limits=chosen.limits,
    )
    make_folder(file.parent)
    answers = file.with_name(f"{file.name}.answers.jsonl")
    with progress("judged", sum(map(len, pool.values()))) as tell:
        requests = passages_alone(run_requests(loaded, pool))
        rank_file(requests, judging, answers, Jsonl(), batch_size=batch_size, progress=tell)
    judging.close()
    judged = read_answers(
        answers, f"{short_name(prompt)} by {short_name(model_name(judging.backend))}"
    )
    if not judged.qrels:
        raise InputError(
            f"none of the {judged.unreadable + judged.failed} answers has a grade",
            hint="Give another model or --prompt, or more --max-tokens, and another --output.",
        )
    write_qrels(file, judged.qrels, synthetic=judged.synthetic)
    click.echo(to_json(judged_numbers(judged)) if as_json else judged_text(judged, output))
    if judged.unreadable or judged.failed:
        sys.exit(FELL_BACK)


def pooled(runs: Iterable[Run], *, depth: int, queries: int | None = None) -> dict[str, list[str]]:
    """The first documents of every run, each once, of all queries or the first ones.

    Examples:
        >>> pooled([{"q": ["a", "b"], "r": ["c"]}, {"q": ["d", "a"]}], depth=1)
        {'q': ['a', 'd'], 'r': ['c']}
    """
    pool: dict[str, dict[str, None]] = {}
    for run in runs:
        for query, found in run.items():
            pool.setdefault(query, {}).update(dict.fromkeys(found[:depth]))
    return {query: list(found) for query, found in itertools.islice(pool.items(), queries)}


def passages_alone(requests: Iterable[Query]) -> Iterator[Query]:
    """Each passage of each query as a query of its own."""
    for query in requests:
        for i, passage in enumerate(query.passages):
            yield Query(query.query_id, query.text, (passage,), (query.passage_id(i),))


def read_answers(path: Path, synthetic: str) -> Judged:
    """The grades in a file of answers, of which each ranks one passage.

    Args:
        path: A file that `Jsonl` wrote, with its manifest.
        synthetic: Who gave them.
    """
    qrels: dict[str, dict[str, int]] = {}
    unreadable = failed = 0
    rows = [row for _, row in rows_of(path)]
    for row in rows:
        (passage,) = row["ranking"]
        if row["score_kind"] == "grade":
            qrels.setdefault(row["query_id"], {})[passage["id"]] = int(passage["score"])
        elif row["report"].get("fallbacks"):
            failed += 1
        else:
            unreadable += 1
    manifest = read_manifest(path)
    return Judged(
        qrels=qrels,
        synthetic=synthetic,
        unreadable=unreadable,
        failed=failed,
        usage=manifest.usage if manifest.queries == len(rows) else None,
    )


def judged_text(judged: Judged, output: str) -> str:
    """The numbers of grades, their cost, and the next step, for people."""
    grades = ", ".join(f"{n} of {grade}" for grade, n in judged.grades().items())
    lines = [f"{len(judged.qrels)} queries, grades: {grades}"]
    if judged.unreadable or judged.failed:
        lines.append(
            f"no grade for {judged.unreadable + judged.failed} passages: {judged.unreadable} "
            f"answers had none, {judged.failed} calls failed"
        )
    if usage := judged.usage:
        tokens = usage.prompt_tokens + usage.generated_tokens
        lines.append(f"{usage.calls} calls, {tokens} tokens, {usage.seconds:.1f} s")
    return "\n".join([*lines, *synthetic_note(judged.synthetic), f"measure with --split {output}"])


def judged_numbers(judged: Judged) -> dict[str, Any]:
    """The values of `judged_text`, for JSON."""
    return {
        "synthetic": judged.synthetic,
        "queries": len(judged.qrels),
        "grades": judged.grades(),
        "unreadable": judged.unreadable,
        "failed": judged.failed,
        "usage": asdict(judged.usage) if judged.usage else None,
    }
