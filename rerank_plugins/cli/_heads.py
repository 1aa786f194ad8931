"""``rerank-plugins heads``: attention heads that find what is relevant, and whether they help."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, cast

import click

from ..backends import TransformersBackend
from ..errors import InputError
from ..evaluation import Qrels, Run, compare, judged_run, load_collection
from ..handlers import AnyBackend, sync_handler
from ..jobs import Query, run_requests
from ..plans import run as run_plan
from ..presets import is_spec
from ..reranker import Reranker
from ..strategies import AttentionScore
from ._arguments import AT_LEAST_ONE, NAME_HELP, json_option, named_reranker, split_option
from ._calibrate import write_spec
from ._first_stage import first_stage_options, found_runs
from ._terminal import progress, synthetic_note, table, to_json

FIRST, CHOSEN = "first stage", "chosen heads"


@click.command()
@click.argument("collection")
@click.option("--run", "runs", multiple=True, help="A TREC run whose documents are shown.")
@first_stage_options
@split_option
@click.option("--reranker", required=True, metavar="NAME", help=f"Its model. {NAME_HELP}")
@click.option("--prompt", default="icr.v1", show_default=True, help="A name, or a TOML file.")
@click.option("--depth", type=AT_LEAST_ONE, default=20, show_default=True, help="Documents shown.")
@click.option("--queries", type=AT_LEAST_ONE, help="Only the first N queries that have judgements.")
@click.option("--count", type=AT_LEAST_ONE, default=16, show_default=True, help="Heads to choose.")
@click.option("--measure", default="nDCG@10", show_default=True, help="As ir_measures writes it.")
@click.option("--output", metavar="FILE", help="A spec of the reranker: .json or .yaml.")
@json_option("Print everything as JSON.")
def heads(
    collection: str,
    runs: Sequence[str],
    split: str,
    reranker: str,
    prompt: str,
    depth: int,
    queries: int | None,
    count: int,
    measure: str,
    output: str | None,
    as_json: bool,
    **search: Any,
) -> None:
    """Find the attention heads of a model that tell relevant passages from others.

    Every second query of COLLECTION finds them: a head is as good as the distance between its
    values for relevant passages and for the others, in standard deviations of the list. The other
    queries judge: the first stage, all heads, and the chosen ones. The model of --reranker runs in
    this process.

    \b
    rerank-plugins heads scifact --split train --first-stage bm25 --depth 20 \\
        --reranker meta-llama/Llama-3.2-3B-Instruct --output heads.yaml
    rerank-plugins evaluate scifact --first-stage bm25 --reranker heads.yaml
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    if output is not None and not is_spec(output):
        raise InputError(f"--output is {output!r}", hint="Give a name ending in .json or .yaml.")
    strategy = AttentionScore(prompt=prompt)
    chosen = named_reranker(reranker, strategy=strategy)
    if not isinstance(chosen.backend, TransformersBackend):
        raise InputError(
            f"attention is read by TransformersBackend, and --reranker {reranker!r} has "
            f"{type(chosen.backend).__name__}",
            hint="Give a hub id or a folder of a language model.",
        )
    loaded = load_collection(collection, split=split)
    found, _ = found_runs(loaded, runs, depth=depth, output=None, scored=False, **search)
    first = judged_run(next(iter(found.values())), loaded)
    lists = judged_lists(run_requests(loaded, first, depth=depth), loaded.qrels)[:queries]
    if len(lists) < 2:
        raise InputError(
            f"{len(lists)} queries have relevant and other documents among their first {depth}, "
            "expected two or more",
            hint="Give another run, a larger --depth or another --split.",
        )
    with progress("read", len(lists)) as tell:
        picked = replace(strategy, heads=_found(chosen, lists[::2], count, tell))
        orders = _orders(chosen.backend, {"all heads": strategy, CHOSEN: picked}, lists[1::2], tell)
    chosen.close()
    if output is not None:
        write_spec(Path(output), Reranker(picked, chosen.backend).to_spec())
    numbers = {
        "heads": picked.heads,
        "queries": len(lists[::2]),
        "held_out": len(lists[1::2]),
        "measure": measure,
        **_judged(orders, loaded.qrels, measure),
        "synthetic": loaded.synthetic or None,
    }
    click.echo(to_json(numbers) if as_json else _text(numbers, output))


def judged_lists(queries: Iterable[Query], qrels: Qrels) -> list[tuple[Query, frozenset[int]]]:
    """The queries with relevant and other passages, and the positions of the relevant ones."""
    found = []
    for query in queries:
        grades = qrels.get(query.query_id, {})
        places = range(len(query.passages))
        relevant = frozenset(i for i in places if grades.get(query.passage_id(i), 0) > 0)
        if 0 < len(relevant) < len(query.passages):
            found.append((query, relevant))
    return found


def separation(values: Sequence[float], relevant: Set[int]) -> float:
    """The distance between the means of relevant and other passages, in standard deviations.

    Examples:
        >>> separation([3.0, 1.0, 1.0, 3.0], {0, 3}), separation([1.0, 1.0], {0})
        (2.0, 0.0)
    """
    spread = pstdev(values)
    means = [
        fmean(v for i, v in enumerate(values) if (i in relevant) == of) for of in (True, False)
    ]
    return (means[0] - means[1]) / spread if spread else 0.0


def _found(
    reranker: Reranker,
    lists: Sequence[tuple[Query, frozenset[int]]],
    count: int,
    tell: Callable[[int], object],
) -> tuple[str, ...]:
    """The heads that separate best on average, the best first."""
    found: dict[str, list[float]] = {}
    strategy = cast("AttentionScore", reranker.strategy)
    for query, relevant in lists:
        plan = strategy.attention(query.text, query.passages, each_head=True)
        answer = run_plan(plan, sync_handler(reranker.backend)).answer
        for layer, rows in enumerate(answer.heads):
            for head, values in enumerate(rows):
                found.setdefault(f"{layer}-{head}", []).append(separation(values, relevant))
        tell(1)
    return tuple(sorted(found, key=lambda head: -fmean(found[head]))[:count])


def _orders(
    backend: AnyBackend,
    strategies: Mapping[str, AttentionScore],
    lists: Sequence[tuple[Query, frozenset[int]]],
    tell: Callable[[int], object],
) -> dict[str, dict[str, list[str]]]:
    """A run of the first stage, and one of each strategy."""
    runs: dict[str, dict[str, list[str]]] = {name: {} for name in (FIRST, *strategies)}
    for query, _ in lists:
        ids = [query.passage_id(i) for i in range(len(query.passages))]
        runs[FIRST][query.query_id] = ids
        for name, strategy in strategies.items():
            order = Reranker(strategy, backend).rank(query.text, query.passages).order
            runs[name][query.query_id] = [ids[i] for i in order]
        tell(1)
    return runs


def _judged(runs: Mapping[str, Run], qrels: Qrels, measure: str) -> dict[str, Any]:
    """The measure of every run, and what the chosen heads gain over the others."""
    against = {name: compare(runs[name], runs[CHOSEN], qrels, measure) for name in runs}
    gains = {name: [c.low, c.high] for name, c in against.items() if name != CHOSEN}
    return {
        "values": {name: found.first for name, found in against.items()},
        "gains": gains,
        "help": all(low > 0 for low, _ in gains.values()),
    }


def _text(numbers: Mapping[str, Any], output: str | None) -> str:
    values, chosen = numbers["values"], numbers["values"][CHOSEN]
    rows = [
        [name, f"{value:.4f}", *_difference(chosen - value, numbers["gains"].get(name))]
        for name, value in values.items()
    ]
    verdict = "help" if numbers["help"] else "are not shown to help"
    lines = [
        f"heads: {' '.join(numbers['heads'])}",
        f"found on {numbers['queries']} queries, judged on {numbers['held_out']} others",
        table(["", numbers["measure"], "the chosen heads' gain", "95 % interval"], rows),
        f"the chosen heads {verdict}, against the first stage and against all heads",
        f"written to {output}" if output else "--output FILE writes the reranker's spec",
    ]
    return "\n".join([*lines, *synthetic_note(numbers["synthetic"] or "")])


def _difference(gain: float, interval: Sequence[float] | None) -> list[str]:
    if interval is None:
        return ["", ""]
    return [f"{gain:+.4f}", f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"]
