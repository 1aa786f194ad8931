"""Cuts by score with the default reranker: passages kept, and their precision, recall and F1.

    RERANK_PLUGINS_DATA=... python benchmarks/cuts.py scifact cranfield [--reranker calibrated.json]
    CACHE=FOLDER ...  # keeps the passages' vectors there

Over the first 20 of BM25. Recall is of all relevant documents of a query, found or not; the means
are over queries. The gate and the probabilities have commands: `rerank-plugins tune` and
`rerank-plugins calibrate`.
"""

import argparse
import os
from pathlib import Path
from statistics import fmean

import inputs

from rerank_plugins import load_reranker
from rerank_plugins.evaluation import judged_run, load_collection, load_run, load_scores
from rerank_plugins.jobs import run_requests
from rerank_plugins.presets import DEFAULT_PRESET

TOPS = (1, 3, 5, 10)
CUTS = (
    *({"score_threshold": least, "keep_at_least": 1} for least in (0.1, 0.2, 0.3, 0.5)),
    {"cut_at_gap": True},
    {"cut_at_gap": True, "keep_at_least": 3},
)


def main(names, model) -> None:
    reranker = load_reranker(model, cache_bytes=2**31, cache_folder=inputs.kept("tokens"))
    for name in names:
        root = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / name
        file = root / "runs" / "bm25s_k0.9_b0.4.trec.gz"
        collection = load_collection(root)
        run = judged_run(load_run(file), collection)
        asked = list(run_requests(collection, run, depth=20, scores=load_scores(file)))
        ranked = [(query, reranker.rank(query.text, query.passages)) for query in asked]
        kept = {f"top_k={k}": [(q, r.top(k)) for q, r in ranked] for k in TOPS}
        kept |= {str(cut): [(q, r.cut(**cut)) for q, r in ranked] for cut in CUTS}
        for label, few in kept.items():
            rows = [
                counts(collection.qrels[q.query_id], [q.ids[i] for i in r.order]) for q, r in few
            ]
            n, p, r, f = map(fmean, zip(*rows, strict=True))
            print(f"{name:<10} {label:<48} {n:5.1f}  P {p:.3f}  R {r:.3f}  F1 {f:.3f}", flush=True)


def counts(grades, kept) -> tuple[int, float, float, float]:
    """The number kept, and their precision, recall and F1."""
    relevant = sum(grade >= 1 for grade in grades.values())
    hits = sum(grades.get(document, 0) >= 1 for document in kept)
    both = len(kept) + relevant
    return len(kept), hits / max(len(kept), 1), hits / max(relevant, 1), 2 * hits / max(both, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--reranker", default=DEFAULT_PRESET)
    given = parser.parse_args()
    main(given.collections, given.reranker)
