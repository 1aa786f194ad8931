"""The torch-free engine beside sentence-transformers and the torch backend: time and scores.

    RERANK_PLUGINS_DATA=... OMP_NUM_THREADS=1 python benchmarks/onnx_engine.py speed [queries]
    ... onnx_engine.py quality [queries] [COLLECTION ...]        # of the cross-encoder
    ... onnx_engine.py late-interaction [queries] [COLLECTION ...]  # of MiniLM, the default's base

The weights are those of the shipped cross-encoder, exported by this run into 32 and 8 bits; the
passages are the first 20 of BM25. ``speed`` takes queries of DL19 (short passages) and SciFact
(long ones); all four rank each query one after the other, the order changes from query to query,
and times are the process's share of the processor. The other two compare nDCG@10 in 8 bits with 32
(difference with its 95 % bootstrap interval) on four collections, and ``quality`` also the scores
of a few queries with torch's. Queries are spread evenly over a collection.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inputs import minilm
from turns import taking_turns

from rerank_plugins import Reranker
from rerank_plugins.backends import (
    CrossEncoderBackend,
    LateInteractionBackend,
    OnnxCrossEncoderBackend,
)
from rerank_plugins.backends._onnx.export import export_weights
from rerank_plugins.calls import ScorePair
from rerank_plugins.evaluation import Qrels, evaluate_each, interval, load_collection, load_run
from rerank_plugins.handlers import Backend
from rerank_plugins.ranking import Ranking, by_score
from rerank_plugins.strategies import PairScore

MODEL = Path(__file__).parents[1] / "models" / "rerank_plugins_models" / "minilm-cross-encoder"
RUNS = {
    "dl19": "bm25",
    "scifact": "bm25s_k0.9_b0.4",
    "cranfield": "bm25s_k0.9_b0.4",
    "cisi": "bm25s_k0.9_b0.4",
}
DEPTH = 20
COMPARED = 3
"""Queries whose scores are compared with torch's."""


def rows(name: str, queries: int) -> tuple[list, dict]:
    """Id, text and passages of queries, spread evenly over the collection, and the judgements."""
    folder = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / name
    collection = load_collection(folder, split="test")
    run = load_run(folder / "runs" / f"{RUNS[name]}.trec.gz")
    asked = [query for query in collection.queries if query in run]
    asked = asked[:: max(1, len(asked) // queries)][:queries]
    found = []
    for query in asked:
        passages = run[query][:DEPTH]
        texts = [collection.documents[document] for document in passages]
        found.append((query, collection.queries[query], [str(text) for text in texts], passages))
    return found, collection.qrels


def exported(folder: str, model: Path, backend: Callable[[Path], Backend]) -> dict[str, Backend]:
    """A model's backends in 32 and 8 bits."""
    found = {}
    for precision in ("fp32", "int8"):
        target = Path(folder) / precision
        target.mkdir()
        export_weights(str(model), target, precision)
        found[f"ONNX, {precision}"] = backend(target)
    return found


def sentence_transformers():
    """The plain use of ``CrossEncoder``."""
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(1)
    model = CrossEncoder(str(MODEL), device="cpu")

    def rank(query: str, texts: list[str]) -> Ranking:
        pairs = [(query, text) for text in texts]
        options = {"activation_fn": torch.nn.Identity(), "show_progress_bar": False}
        return by_score([float(score) for score in model.predict(pairs, **options)], "logit")

    return rank


def speed(queries: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        backends = {
            "CrossEncoderBackend": CrossEncoderBackend(MODEL),
            **exported(folder, MODEL, OnnxCrossEncoderBackend),
        }
        jobs = {"sentence-transformers": sentence_transformers()}
        for name, backend in backends.items():
            jobs[name] = Reranker(PairScore(), backend).rank
        for name in ("dl19", "scifact"):
            chosen, _ = rows(name, queries)
            tokens = [
                reply.prompt_tokens
                for _, query, texts, _ in chosen
                for reply in backends["ONNX, int8"].run([ScorePair(query, t) for t in texts])
            ]
            lines = taking_turns(jobs, [row[:3] for row in chosen])
            own = next(line for line in lines if line["name"] == "CrossEncoderBackend")
            for line in lines:
                print(
                    json.dumps(
                        {
                            "collection": name,
                            "tokens a pair": round(statistics.mean(tokens)),
                            "engine": line["name"],
                            "pairs a second": round(DEPTH / line["median_s"], 1),
                            "times as fast as sentence-transformers": round(1 / line["ratio"], 2),
                            "range": [
                                round(1 / line["ratio_high"], 2),
                                round(1 / line["ratio_low"], 2),
                            ],
                            "times as fast as CrossEncoderBackend": round(
                                own["median_s"] / line["median_s"], 2
                            ),
                        }
                    ),
                    flush=True,
                )


def quality(queries: int, names: Sequence[str]) -> None:
    torchs = CrossEncoderBackend(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        backends = exported(folder, MODEL, OnnxCrossEncoderBackend)
        for name in names:
            chosen, qrels = rows(name, queries)
            off: dict[str, float] = {}
            for _, text, texts, _ in chosen[:COMPARED]:
                calls = [ScorePair(text, passage) for passage in texts]
                right = [reply.answer for reply in torchs.run(calls)]
                for engine, backend in backends.items():
                    moved = [
                        abs(r.answer - s) for r, s in zip(backend.run(calls), right, strict=True)
                    ]
                    off[engine] = max(off.get(engine, 0.0), *moved)
            report(name, chosen, qrels, backends, {"largest distance from torch's scores": off})


def late_interaction(queries: int, names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Parts as long as the default's.
        backend = partial(LateInteractionBackend, part_tokens=256)
        backends = exported(folder, minilm(), backend)
        for name in names:
            report(name, *rows(name, queries), backends, {})


def report(
    name: str,
    chosen: Sequence[Any],
    qrels: Qrels,
    backends: Mapping[str, Backend],
    besides: Mapping[str, Any],
) -> None:
    """Print nDCG@10 with weights of 32 and of 8 bits."""
    judged = {query: qrels[query] for query, *_ in chosen}
    each = {}
    for engine, backend in backends.items():
        ranker = Reranker(PairScore(), backend)
        run = {
            query: [passages[i] for i in ranker.rank(text, texts).order]
            for query, text, texts, passages in chosen
        }
        each[engine] = evaluate_each(run, judged, "nDCG@10")
    whole, small = each.values()
    low, high = interval([small[query] - whole[query] for query in whole])
    means = {engine: statistics.mean(values.values()) for engine, values in each.items()}
    fp32, int8 = means.values()
    print(
        json.dumps(
            {
                "collection": name,
                "queries": len(chosen),
                "nDCG@10": {engine: round(mean, 4) for engine, mean in means.items()},
                "int8 - fp32": round(int8 - fp32, 4),
                "95 %": [round(low, 4), round(high, 4)],
                **besides,
            }
        ),
        flush=True,
    )


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "speed"
    queries = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    if what == "speed":
        speed(queries)
    else:
        {"quality": quality, "late-interaction": late_interaction}[what](
            queries, sys.argv[3:] or list(RUNS)
        )


if __name__ == "__main__":
    main()
