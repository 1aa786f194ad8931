"""``rerank-plugins explain``: what was sent, what came back, and how each passage moved."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._files import lines_of
from ..calls import Batch, Call, Completion, LabelLogprobs, Plan, Replies, Reply
from ..errors import CallError, InputError
from ..evaluation import load_collection, load_run
from ..jobs._formats import name_of, reported
from ..jobs._requests import Query, parsed, run_requests
from ..middleware._layers import Layer
from ..middleware._transcript import encode_call, encode_reply
from ..ranking import Ranking
from ..reranker import Reranker
from ._inputs import scores_of
from ._models import question
from ._printing import as_json, table
from ._specs import named_reranker

Exchange = tuple[Call[Any], Reply[Any] | CallError]


def command() -> Any:
    """``rerank-plugins explain``."""
    import click

    @click.command()
    @click.argument("query")
    @click.option("--reranker", required=True, help="A checkpoint, or a spec file.")
    @click.option("--passages", help="A file: a text on each line, or JSON Lines of {id, text}.")
    @click.option("--collection", help="Instead: a collection, of which QUERY is an id or a text.")
    @click.option("--run", help="With --collection: the TREC run that found the passages.")
    @click.option("--split", default="test", show_default=True, help="Queries of the collection.")
    @click.option("--depth", default=20, show_default=True, help="Passages of the run.")
    @click.option("--calls", default=1, show_default=True, help="Calls to show in full.")
    @click.option("--plot", help="A file for a picture of the movement.")
    @click.option("--json", "machine", is_flag=True, help="Every call and reply, as JSON.")
    def explain(
        query: str, reranker: str, calls: int, plot: str | None, machine: bool, **source: Any
    ) -> None:
        """Rank the passages of one QUERY, and show how it came about.

        \b
        rerank-plugins explain "how long does a flea live" --passages texts.txt \\
            --reranker castorini/first_mistral
        rerank-plugins explain 264014 --collection dl19 --run bm25.trec --reranker spec.yaml
        """  # noqa: D301 - click's mark for lines that are not to be filled
        request, grades = _request(query, **source)
        ranking, exchanges = explained(named_reranker(reranker), request)
        if machine:
            click.echo(as_json(_numbers(request, ranking, exchanges)))
        else:
            click.echo(_shown(request, ranking, exchanges, calls, grades))
        if plot:
            _draw(request, ranking, grades, plot)

    return explain


def explained(reranker: Reranker, request: Query) -> tuple[Ranking, list[Exchange]]:
    """A ranking, and every call with its reply, in order."""
    found: list[Exchange] = []

    def exchange(calls: Batch) -> Plan[Replies]:
        replies = (yield calls) if calls else []
        found.extend(zip(calls, replies, strict=True))
        return replies

    watched = Reranker(
        reranker.strategy,
        Layer(reranker.backend, exchange),
        on_error=reranker.on_error,
        limits=reranker.limits,
    )
    return watched.rank(request.text, request.passages), found


def _request(
    query: str,
    *,
    passages: str | None,
    collection: str | None,
    run: str | None,
    split: str,
    depth: int,
) -> tuple[Query, dict[str, int]]:
    """What to rank, and what is known of its relevance."""
    if (passages is None) == (collection is None) or (collection is None) != (run is None):
        raise InputError("give either --passages, or --collection and --run")
    if passages is not None:
        return _from_file(query, Path(passages)), {}
    loaded = load_collection(str(collection), split=split)
    found = load_run(str(run))
    keys = [key for key, text in loaded.queries.items() if query in (key, text)]
    if not keys or keys[0] not in found:
        raise InputError(f"the collection, or the run, has no query {query!r}")
    one, scores = {keys[0]: found[keys[0]]}, scores_of(str(run))
    (request,) = run_requests(loaded, one, depth=depth, scores=scores)
    return request, dict(loaded.qrels[keys[0]])


def _from_file(query: str, path: Path) -> Query:
    texts = [line.rstrip("\n") for _, line in lines_of(path)]
    if path.suffix not in (".jsonl", ".ndjson"):
        return Query("", query, tuple(texts), None)
    from .._files import rows_of

    candidates = [row for _, row in rows_of(path)]
    return parsed({"query_id": "query", "query": query, "candidates": candidates})


def _shown(
    request: Query,
    ranking: Ranking,
    exchanges: Sequence[Exchange],
    calls: int,
    grades: dict[str, int],
) -> str:
    parts: list[str] = []
    for number, (call, reply) in enumerate(exchanges[:calls], start=1):
        parts += [
            f"=== call {number} of {len(exchanges)}",
            question(call),
            f"--- came back\n{_answer(reply)}",
        ]
    usage = ranking.usage
    parts += [
        f"=== ranking by {ranking.score_kind}",
        _movement(request, ranking, grades),
        f"=== {usage.calls} calls in {usage.batches} rounds, {usage.prompt_tokens} tokens read, "
        f"{usage.generated_tokens} written, {usage.seconds:.3f} s",
    ]
    said = reported(ranking.report)
    parts += [f"{name.replace('_', ' ')}: {value}" for name, value in said.items()]
    return "\n".join(parts)


def _answer(reply: Reply[Any] | CallError) -> str:
    if isinstance(reply, CallError):
        return f"{type(reply).__name__}: {reply}"
    match reply.answer:
        case LabelLogprobs(seen=seen):
            best = sorted(seen.items(), key=lambda item: -item[1])
            return "  ".join(f"{label} {value:.4f}" for label, value in best)
        case Completion(text=text):
            return text
        case _:
            return repr(reply.answer)


def _movement(request: Query, ranking: Ranking, grades: dict[str, int]) -> str:
    rows = []
    for rank, (i, score) in enumerate(zip(ranking.order, ranking.scores, strict=True), start=1):
        name, moved = name_of(request, i), i + 1 - rank
        grade = [str(grades.get(name, "-"))] if grades else []
        rows.append(
            [str(rank), str(i + 1), f"{moved:+d}" if moved else "", f"{score:.4f}", *grade, name]
        )
    header = ["rank", "was", "moved", "score", *(["grade"] if grades else []), "id"]
    lines = table(header, rows).splitlines()
    texts = ["", *(" ".join(request.passages[i].split())[:60] for i in ranking.order)]
    return "\n".join(f"{a}  {b}".rstrip() for a, b in zip(lines, texts, strict=True))


def _numbers(request: Query, ranking: Ranking, exchanges: Sequence[Exchange]) -> dict[str, Any]:
    return {
        "query": request.text,
        "calls": [{"call": encode_call(c), "reply": encode_reply(r)} for c, r in exchanges],
        "ranking": [
            {"id": name_of(request, i), "rank": rank, "was": i + 1, "score": score}
            for rank, (i, score) in enumerate(
                zip(ranking.order, ranking.scores, strict=True), start=1
            )
        ],
        "score_kind": ranking.score_kind,
        "report": reported(ranking.report),
        "usage": asdict(ranking.usage),
    }


def _draw(request: Query, ranking: Ranking, grades: dict[str, int], path: str) -> None:
    from ..evaluation.report import rank_movement, save

    names = [name_of(request, i) for i in range(len(request.passages))]
    labels = dict(zip(names, request.passages, strict=True))
    after = [names[i] for i in ranking.order]
    save(rank_movement(names, after, grades=grades, labels=labels, title=request.text), path)
