"""``rerank-plugins explain``: one query, its calls and replies, and how each passage moved."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from .._files import lines_of, rows_of
from ..calls import Batch, Call, Plan, Replies, Reply
from ..errors import CallError, InputError
from ..evaluation import load_collection
from ..evaluation.report import rank_movement, save
from ..jobs import Query, nonzero, parse_query, run_requests
from ..middleware import Layer
from ..middleware._transcript import encode_call, encode_reply
from ..ranking import Ranking
from ..reranker import Reranker
from ._arguments import (
    instruction_option,
    json_option,
    load_first_stage,
    named_reranker,
    reranker_option,
    split_option,
)
from ._terminal import call_text, counted, reply_text, synthetic_note, table, to_json

Exchange = tuple[Call[Any], Reply[Any] | CallError]


@click.command()
@click.argument("query")
@reranker_option
@instruction_option
@click.option("--passages", help="A file: a text on each line, or JSON Lines of {id, text}.")
@click.option("--collection", help="Instead: a collection, of which QUERY is an id or a text.")
@click.option("--run", help="With --collection: the TREC run that found the passages.")
@split_option
@click.option("--depth", default=20, show_default=True, help="Passages of the run.")
@click.option("--calls", default=1, show_default=True, help="Calls to show in full.")
@click.option("--plot", help="A file for a picture of the movement.")
@json_option("Print every call and reply as JSON.")
def explain(
    query: str,
    reranker: str | None,
    instruction: str | None,
    passages: str | None,
    collection: str | None,
    run: str | None,
    split: str,
    depth: int,
    calls: int,
    plot: str | None,
    as_json: bool,
) -> None:
    """Rank the passages of one QUERY, and show the calls that decided the order.

    \b
    rerank-plugins explain "how long does a flea live" --passages texts.txt \\
        --reranker castorini/first_mistral
    rerank-plugins explain 264014 --collection dl19 --run bm25.trec --reranker spec.yaml
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    grades: Mapping[str, int] = {}
    if passages and not collection and not run:
        path = Path(passages)
        if path.suffix in (".jsonl", ".ndjson"):
            candidates = [row for _, row in rows_of(path)]
            request = parse_query({"query_id": "query", "query": query, "candidates": candidates})
        else:
            texts = tuple(line.rstrip("\n") for _, line in lines_of(path))
            request = Query("", query, texts, None)
    elif collection and run and not passages:
        request, grades = _request_of_run(query, run, collection, split=split, depth=depth)
    else:
        raise InputError("give either --passages, or --collection and --run")
    request = replace(request, instruction=instruction)
    ranking, exchanges = rank_recorded(named_reranker(reranker), request)
    if as_json:
        click.echo(to_json(explanation_numbers(request, ranking, exchanges)))
    else:
        click.echo(explanation(request, ranking, exchanges, calls=calls, grades=grades))
    if plot:
        names = [request.passage_id(i) for i in range(len(request.passages))]
        labels = dict(zip(names, request.passages, strict=True))
        after = [names[i] for i in ranking.order]
        figure = rank_movement(names, after, grades=grades, labels=labels, title=request.text)
        save(figure, plot)


def _request_of_run(
    query: str, path: str, collection: str, *, split: str, depth: int
) -> tuple[Query, Mapping[str, int]]:
    """A query, by its id or text, with the passages of a run, and their grades."""
    loaded = load_collection(collection, split=split)
    run, scores = load_first_stage(path)
    keys = [key for key, text in loaded.queries.items() if query in (key, text)]
    if not keys or keys[0] not in run:
        raise InputError(
            f"the collection, or the run, has no query {query!r}", hint="Give its id or its text."
        )
    found = {keys[0]: run[keys[0]]}
    (request,) = run_requests(loaded, found, depth=depth, scores=scores)
    for note in synthetic_note(loaded.synthetic):
        click.echo(note, err=True)
    return request, loaded.qrels[keys[0]]


def rank_recorded(reranker: Reranker, request: Query) -> tuple[Ranking, list[Exchange]]:
    """Rank, and record every call with its reply, in order."""
    found: list[Exchange] = []

    def exchange(calls: Batch) -> Plan[Replies]:
        replies = (yield calls) if calls else []
        found.extend(zip(calls, replies, strict=True))
        return replies

    recorded = Reranker(
        reranker.strategy,
        Layer(reranker.backend, exchange),
        on_error=reranker.on_error,
        limits=reranker.limits,
    )
    ranking = recorded.rank(request.text, request.passages, instruction=request.instruction)
    return ranking, found


def explanation(
    request: Query,
    ranking: Ranking,
    exchanges: Sequence[Exchange],
    *,
    calls: int = 1,
    grades: Mapping[str, int] | None = None,
) -> str:
    """The first calls with their replies, the movement of each passage, and the cost.

    Args:
        request: The query.
        ranking: Its ranking.
        exchanges: All calls and replies.
        calls: Calls to show in full.
        grades: Judgements by document id; no column for them when empty.
    """
    parts: list[str] = []
    for number, (call, reply) in enumerate(exchanges[:calls], start=1):
        parts += [f"=== call {number} of {len(exchanges)}", call_text(call)]
        parts += [f"--- came back\n{reply_text(reply)}"]
    rows = []
    for rank, (i, score) in enumerate(zip(ranking.order, ranking.scores, strict=True), start=1):
        name, moved = request.passage_id(i), i + 1 - rank
        grade = [str(grades.get(name, "-"))] if grades else []
        movement = f"{moved:+d}" if moved else ""
        rows.append([str(rank), str(i + 1), movement, f"{score:.4f}", *grade, name])
    header = ["rank", "was", "moved", "score", *(["grade"] if grades else []), "id"]
    texts = [" ".join(request.passages[i].split())[:60] for i in ranking.order]
    usage = ranking.usage
    loading = usage.loading_seconds
    return "\n".join(
        [
            *parts,
            *([f"=== instruction: {request.instruction}"] if request.instruction else []),
            f"=== ranking by {ranking.score_kind}",
            table(header, rows, texts),
            f"=== {counted(usage.calls, 'call')} in {counted(usage.batches, 'round')}, "
            f"{counted(usage.prompt_tokens, 'token')} read, {usage.generated_tokens} written, "
            f"{usage.seconds:.3f} s",
            *([f"loading the model: {loading:.3f} s"] if loading else []),
            *(f"{k.replace('_', ' ')}: {v}" for k, v in nonzero(ranking.report).items()),
        ]
    )


def explanation_numbers(
    request: Query, ranking: Ranking, exchanges: Sequence[Exchange]
) -> dict[str, Any]:
    """The ranking, and every call with its reply, for JSON."""
    return {
        "query": request.text,
        **({"instruction": request.instruction} if request.instruction else {}),
        "calls": [{"call": encode_call(c), "reply": encode_reply(r)} for c, r in exchanges],
        "ranking": [
            {"id": request.passage_id(i), "rank": rank, "was": i + 1, "score": score}
            for rank, (i, score) in enumerate(
                zip(ranking.order, ranking.scores, strict=True), start=1
            )
        ],
        "score_kind": ranking.score_kind,
        "report": nonzero(ranking.report),
        "usage": asdict(ranking.usage),
    }
