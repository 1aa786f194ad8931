"""Measure trained models: on what is there to choose with, or on what is reported.

python models/recipes/asked_measure.py choose FOLDER ... --depth 10 --data DATA --json FILE
python models/recipes/asked_measure.py report FOLDER ... --depth 20 --data DATA --json FILE

To choose: the held-out questions of COVID-QA and claims of SciFact, and DL21. To report: SciFact's
test claims, Cranfield, DL19 and CISI from BM25, and with ``--minilm`` the first two from MiniLM.
``--shuffled`` reranks each again from a random order, and counts how often each place wins. A
folder is what `rerank_plugins.load_reranker` opens, or its name; ``--base`` is the model of
adapters. nDCG@10, differences to the first stage with 95 % intervals over queries.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from candidates import BM25, first
from commands import count, execute
from questions_data import SOURCES, is_held_out

from rerank_plugins import Reranker, load_reranker
from rerank_plugins.evaluation import (
    Collection,
    compare,
    judged_run,
    load_collection,
    load_run,
    rerank_run,
    run_passages,
)
from rerank_plugins.training import TrainingList

CHOOSE = ("covidqa", "scifact")
REPORT = {"scifact": "bm25", "cranfield": "bm25", "dl19": "bm25", "cisi": "bm25"}
SEED = 7
Run = Mapping[str, list[str]]


class Task(NamedTuple):
    """Queries with their first passages."""

    name: str
    collection: Collection
    run: Run


def main() -> None:
    given = arguments()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(given.json.read_text("utf-8")) if given.json.is_file() else {}
    tasks = list((to_choose if given.section == "choose" else to_report)(given))
    for folder in given.folders:
        reranker = load_reranker(folder, base=given.base)
        for task in tasks:
            figures = measured(reranker, task, given)
            known[f"{folder} {task.name} {given.depth}"] = figures
            given.json.write_text(json.dumps(known) + "\n", "utf-8")
            print(
                folder, task.name, {k: v for k, v in figures.items() if k != "queries"}, flush=True
            )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("section", choices=("choose", "report"))
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--base", help="the model under adapters")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and beir/")
    parser.add_argument("--depth", type=count, default=20, help="passages of the first stage")
    parser.add_argument("--minilm", action="store_true", help="report from MiniLM's order too")
    parser.add_argument("--shuffled", action="store_true", help="from a random order too")
    parser.add_argument("--queries", type=count, help="of each collection at most")
    parser.add_argument(
        "--json", type=Path, required=True, help="the figures, and the order of each query"
    )
    return parser.parse_args()


def to_choose(given: argparse.Namespace) -> Iterator[Task]:
    """Held-out questions over BM25's order of their own collection, and DL21."""
    for source in CHOOSE:
        collection = load_collection(given.data / SOURCES[source], split="train")
        keys = list(collection.documents)
        bm25 = BM25([str(text) for text in collection.documents.values()])
        held_out = [
            query
            for query in collection.qrels
            if is_held_out(source, TrainingList("x", ("",), (0,), query_id=query))
        ]
        run = {
            query: [keys[i] for i in first(bm25.scores(collection.queries[query]), 100)]
            for query in held_out[: given.queries]
        }
        yield Task(source, collection, run)
    yield of_run(given.data, "dl21", "bm25", given.queries)


def to_report(given: argparse.Namespace) -> Iterator[Task]:
    """The collections that nothing is chosen with."""
    for name, run in REPORT.items():
        yield of_run(given.data, name, run, given.queries)
    if given.minilm:
        for name in ("scifact", "cranfield"):
            yield of_run(given.data, name, "minilm", given.queries)


def of_run(data: Path, name: str, start: str, most: int | None) -> Task:
    """The first queries of a collection, and its run whose file's name starts so."""
    root = data / "beir" / name
    collection = load_collection(root)
    path = next(p for p in sorted((root / "runs").iterdir()) if p.name.startswith(start))
    run = judged_run(load_run(path, depth=100), collection)
    return Task(f"{name}-{start}", collection, dict(islice(run.items(), most)))


def measured(reranker: Reranker, task: Task, given: argparse.Namespace) -> dict[str, Any]:
    """nDCG@10 of the first stage and of the reranker, over a task's queries."""
    qrels = {query: task.collection.qrels[query] for query in task.run}
    ranked, _ = reranked(reranker, task, task.run, given.depth)
    change = compare(task.run, ranked, qrels)
    found: dict[str, Any] = {
        "first": round(change.first, 4),
        "ndcg": round(change.second, 4),
        "interval": [round(change.low, 4), round(change.high, 4)],
        "better/worse": f"{change.wins}/{change.losses}",
    }
    if given.shuffled:
        mixed = {query: shuffled(query, order, given.depth) for query, order in task.run.items()}
        again, places = reranked(reranker, task, mixed, given.depth)
        other = compare(task.run, again, qrels)
        found["shuffled"] = round(other.second, 4)
        found["shuffled interval"] = [round(other.low, 4), round(other.high, 4)]
        found["places"] = [places[i] for i in range(given.depth)]
    return found | {"queries": {query: ranked[query][: given.depth] for query in ranked}}


def reranked(
    reranker: Reranker, task: Task, run: Run, depth: int
) -> tuple[dict[str, list[str]], Counter[int]]:
    """The run in the reranker's order, and how often each place of it won."""
    queries = list(run)
    asked = [
        (task.collection.queries[q], run_passages(task.collection, run, q)[:depth]) for q in queries
    ]
    rankings = dict(zip(queries, reranker.rank_many(asked), strict=True))
    return rerank_run(run, rankings), Counter(one.order[0] for one in rankings.values())


def shuffled(query: str, order: list[str], depth: int) -> list[str]:
    head = list(order[:depth])
    random.Random(f"{SEED} {query}").shuffle(head)
    return [*head, *order[depth:]]


if __name__ == "__main__":
    execute(main)
