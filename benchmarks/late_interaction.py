"""Late interaction over passages that were encoded before, beside a cross-encoder of its size.

    python benchmarks/late_interaction.py ENCODER [ROUNDS]  # a folder with exported weights

Ranks BM25's first 100 passages of DL19 queries (`RERANK_PLUGINS_DATA`), one query a round, on one
thread: the passages prepared; as they stand in the cache after another query; and by the
cross-encoder of ``models/``, on the same passages: by torch, and exported by this run, in 32 and in
8 bits. All take turns in a round. Milliseconds of
the processor and of the clock: on a shared machine only the first say something.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

from rerank_plugins import Reranker
from rerank_plugins.backends import (
    CrossEncoderBackend,
    LateInteractionBackend,
    OnnxCrossEncoderBackend,
)
from rerank_plugins.backends._onnx.export import export_weights
from rerank_plugins.evaluation import (
    judged_run,
    load_collection,
    load_run,
    run_passages,
)
from rerank_plugins.strategies import PairScore

DEPTH = 100
CROSS_ENCODER = Path(__file__).parents[1] / "models/rerank_plugins_models/minilm-cross-encoder"
NAMES = ("encoding the query", "prepared", "second query")
CROSS_ENCODERS = ("cross-encoder, torch", "cross-encoder, fp32", "cross-encoder, int8")


def lists(n):
    """Queries with their first passages, and another query for each."""
    folder = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / "dl19"
    collection = load_collection(folder)
    run = judged_run(load_run(folder / "runs" / "bm25.trec", depth=DEPTH), collection)
    texts = [collection.queries[query] for query in run]
    for i, query in enumerate(islice(run, n)):
        yield texts[i], texts[i - 1], run_passages(collection, run, query)


def timed(work):
    """Milliseconds of the processor and of the clock, and the result."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall), found


def cross_encoders(folder):
    """The cross-encoder in torch, and exported in 32 and 8 bits."""
    yield CrossEncoderBackend(CROSS_ENCODER, device="cpu")
    for precision in ("fp32", "int8"):
        target = Path(folder, precision)
        target.mkdir()
        export_weights(str(CROSS_ENCODER), target, precision)
        yield OnnxCrossEncoderBackend(target, threads=1)


def main(encoder, rounds, folder):
    asked = list(lists(rounds))
    options = {"max_tokens": 512, "threads": 1}
    prepared = LateInteractionBackend(encoder, cache_bytes=0, **options)
    vectors = prepared.prepare([passage for *_, found in asked for passage in found])
    cached = LateInteractionBackend(encoder, **options)
    rerankers = [
        Reranker(PairScore(), backend) for backend in (prepared, cached, *cross_encoders(folder))
    ]
    for reranker in rerankers:
        reranker.rank(asked[0][0], asked[0][2][:2])  # loads the model
    times = {name: [] for name in (*NAMES, *CROSS_ENCODERS)}
    for query, other, passages in asked:
        encode = prepared._loaded.encode  # the part of a ranking that no preparation saves
        times[NAMES[0]].append(timed(lambda q=query, e=encode: e([q], "query"))[:2])
        rerankers[1].rank(other, passages)
        for name, reranker in zip((*NAMES[1:], *CROSS_ENCODERS), rerankers, strict=True):
            cpu, wall, ranking = timed(lambda r=reranker, q=query, p=passages: r.rank(q, p))
            times[name].append((cpu, wall))
            print(f"{name}: {ranking.usage.prompt_tokens} tokens read", file=sys.stderr)
    print(f"{vectors!r}: {vectors.nbytes / len(vectors):,.0f} bytes a passage")
    print(f"{'milliseconds, median of ' + str(rounds):<28} {'processor':>10} {'clock':>10}")
    for name, found in times.items():
        cpu, wall = (median(one) for one in zip(*found, strict=True))
        print(f"{name:<28} {cpu:>10.1f} {wall:>10.1f}")
    for name in NAMES[1:]:
        beyond = [a - b for (a, _), (b, _) in zip(times[name], times[NAMES[0]], strict=True)]
        print(f"{name}: {median(beyond):.1f} ms of the processor beyond encoding the query")
        for other in CROSS_ENCODERS:
            cpu, wall = (
                median(a[clock] / b[clock] for a, b in zip(times[other], times[name], strict=True))
                for clock in (0, 1)
            )
            print(f"    {cpu:.0f} times less than {other} ({wall:.0f} by the clock)")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5, made)
