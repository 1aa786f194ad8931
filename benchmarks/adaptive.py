"""Reranking the neighbours of what was ranked best, beside reranking the first stage alone.

    RERANK_PLUGINS_DATA=... python benchmarks/adaptive.py [COLLECTION ...] [--depth 100]
    CACHE=FOLDER ...  # keeps the passages' vectors there

The default reranker reads 100 passages of a query. The first stage is BM25 or MiniLM; neighbours
come from MiniLM's vectors in FAISS. As scores it serves GAR; its order alone, in windows of 20,
serves SlideGAR and the sliding window, with nine windows each. Prints nDCG@10, and the recall of
the passages that were reranked, with 95 % bootstrap intervals over queries of the difference from
reranking the first stage alone.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from inputs import kept

from rerank_plugins import Ranking, Reranker, load_reranker
from rerank_plugins.backends import LateInteractionBackend
from rerank_plugins.evaluation import compare, evaluate, judged_run, load_collection, load_run
from rerank_plugins.feedback import FaissIndex, FeedbackSearch
from rerank_plugins.presets import DEFAULT_PRESET
from rerank_plugins.strategies import SlidingWindow

COLLECTIONS = ("scifact", "cranfield", "cisi")
STAGES = {"BM25": "bm25s_k0.9_b0.4", "MiniLM": "minilm"}


class OrderOnly:
    """A strategy's order without its scores, as models give that write an order."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def rank(self, query, passages):
        ranking = yield from self.inner.rank(query, passages)
        return Ranking(ranking.order, report=ranking.report)


def main(names, depth) -> None:
    scores = load_reranker(cache_bytes=2**31, cache_folder=kept("tokens"))
    orders = Reranker(SlidingWindow(OrderOnly(scores.strategy)), scores.backend)
    pooled = {"vectors": "pooled", "cache_folder": kept("pooled")}
    encode = LateInteractionBackend(DEFAULT_PRESET, **pooled).embed
    for name in names or COLLECTIONS:
        root = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / name
        collection = load_collection(root)
        texts = list(collection.documents.values())
        index = FaissIndex.build(encode(texts), ids=collection.documents, texts=texts)
        asked = {q: text for q, text in collection.queries.items() if q in collection.qrels}
        vectors = dict(zip(asked, encode(list(asked.values()), "query"), strict=True))
        for stage, file in STAGES.items():
            run = load_run(root / "runs" / f"{file}.trec.gz", depth=depth)
            run = judged_run(run, collection)
            hits = {q: index.hits(ids) for q, ids in run.items()}
            for label, reranker in (("scores", scores), ("orders", orders)):
                print(f"{name}, {stage}, {label}:")
                report(index, reranker, collection, vectors, hits, depth)


def report(index, reranker, collection, vectors, hits, depth) -> None:
    plain = None
    for expand in ("none", "neighbours", "both"):
        found = {}
        options = {"k": depth, "depth": depth, "expand": expand}
        if expand == "none":
            options = {"k": depth, "depth": depth, "fuse": "head", "rerank_new": False}
        search = FeedbackSearch(index, reranker, **options)
        for query, first in hits.items():
            text = collection.queries[query]
            found[query] = search.search(text, vectors[query], first=first)
        reranked = {q: list(f.reranked) for q, f in found.items()}
        plain = plain or reranked
        line = f"  {expand:<11}"
        for measure in ("nDCG@10", f"R@{depth}"):
            value = evaluate(reranked, collection.qrels, [measure])[measure]
            change = compare(plain, reranked, collection.qrels, measure)
            line += f"  {measure} {value:.4f} {change.difference:+.4f} "
            line += f"[{change.low:+.4f}, {change.high:+.4f}]"
        cost = [f.usage for f in found.values()]
        calls = np.mean([c.calls for c in cost])
        seconds = np.mean([c.seconds for c in cost])
        searches = np.mean([c.searches for c in cost])
        print(
            f"{line}  {calls:.0f} calls, {searches:.0f} searches, {1000 * seconds:.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--depth", type=int, default=100)
    arguments = parser.parse_args()
    main(arguments.names, arguments.depth)
