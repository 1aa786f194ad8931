"""The figures of the default reranker, `load_reranker()`.

    RERANK_PLUGINS_DATA=... python benchmarks/default_reranker.py [COLLECTION ...]
    CACHE=FOLDER ...  # keeps the passages' vectors there

Reranks the first stages' passages, and prints nDCG@10 with 95 % bootstrap intervals over queries
of the difference from the first stage: with places, as lists with scores have them, and without,
as texts without scores are ranked. Of the probabilities it prints the Brier score and the expected
calibration error (ten bins); grades from 2 count as relevant on DL19, from 1 elsewhere. The numbers
of the preset were fitted to the even queries of Cranfield and CISI, so those two are judged on the
odd ones.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from inputs import kept

from rerank_plugins import load_reranker
from rerank_plugins.evaluation import (
    compare,
    evaluate,
    judged_run,
    load_collection,
    load_run,
    load_scores,
    rerank_run,
)
from rerank_plugins.jobs import run_requests

STAGES = {
    "dl19": (
        ("bm25", 20),
        ("bm25", 100),
        ("d_bert_kd_tasb", 20),
        ("splade_p_p_ensemble_distil", 20),
    ),
    "cranfield": (("bm25s_k0.9_b0.4", 20), ("minilm", 20)),
    "cisi": (("bm25s_k0.9_b0.4", 20), ("minilm", 20)),
    "scifact": (("bm25s_k0.9_b0.4", 20), ("minilm", 20)),
}
FITTED = ("cranfield", "cisi")


def main(names) -> None:
    reranker = load_reranker(cache_bytes=2**31, cache_folder=kept("tokens"))
    for name in names or STAGES:
        root = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / name
        collection = load_collection(root)
        for stage, depth in STAGES[name]:
            file = root / "runs" / f"{stage}.trec.gz"
            run, scores = judged_run(load_run(file), collection), load_scores(file)
            print(f"{name}, the first {depth} of {stage}:")
            for label, known in (("with places", scores), ("without", None)):
                report(collection, run, known, depth, reranker, label, name)


def report(collection, run, scores, depth, reranker, label, name) -> None:
    start = time.perf_counter()
    requests = list(run_requests(collection, run, depth=depth, scores=scores))
    ranked = {query.query_id: reranker.rank(query.text, query.passages) for query in requests}
    seconds = time.perf_counter() - start
    found = rerank_run(run, ranked)
    first, now = (evaluate(r, collection.qrels)["nDCG@10"] for r in (run, found))
    change = compare(run, found, collection.qrels)
    held_out = list(run)[1::2] if name in FITTED else list(run)
    least = 2 if name == "dl19" else 1
    pairs = [
        (score, collection.qrels[query].get(run[query][i], 0) >= least)
        for query in held_out
        for i, score in zip(ranked[query].order, ranked[query].scores, strict=True)
    ]
    p, relevant = np.array(pairs, dtype=float).T
    bins = np.minimum((10 * p).astype(int), 9)
    error = sum(
        abs(p[bins == b].mean() - relevant[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    )
    print(
        f"  {label:<12} {first:.4f} -> {now:.4f}  {change.difference:+.4f} "
        f"[{change.low:+.4f}, {change.high:+.4f}]  {change.wins}/{change.losses}  "
        f"Brier {np.mean((p - relevant) ** 2):.4f} (a constant {relevant.var():.4f})  "
        f"ECE {error:.3f}  {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
