"""The torch-free engine beside sentence-transformers and the torch backend: time and scores.

    RERANK_PLUGINS_DATA=... OMP_NUM_THREADS=1 python benchmarks/onnx_engine.py speed [queries]
    RERANK_PLUGINS_DATA=... OMP_NUM_THREADS=1 python benchmarks/onnx_engine.py quality [queries]

The weights are those of the shipped cross-encoder, exported by this run into 32 and 8 bits; the
passages are the first 20 of BM25. ``speed`` takes queries of DL19 (short passages) and SciFact
(long ones); all four rank each query one after the other, the order changes from query to query,
and times are the process's share of the processor. ``quality`` compares nDCG@10 on four
collections, and the scores of a few queries with torch's.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from turns import taking_turns

from rerank_plugins import Reranker
from rerank_plugins.backends import CrossEncoderBackend, OnnxCrossEncoderBackend
from rerank_plugins.backends._onnx.export import export_weights
from rerank_plugins.calls import ScorePair
from rerank_plugins.evaluation import evaluate_each, interval, load_collection, load_run
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


def exported(folder: str) -> dict[str, OnnxCrossEncoderBackend]:
    """The shipped cross-encoder in 32 and 8 bits."""
    found = {}
    for precision in ("fp32", "int8"):
        target = Path(folder) / precision
        target.mkdir()
        export_weights(str(MODEL), target, precision)
        found[f"ONNX, {precision}"] = OnnxCrossEncoderBackend(target)
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
        backends = {"CrossEncoderBackend": CrossEncoderBackend(MODEL), **exported(folder)}
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


def quality(queries: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        backends = exported(folder)
        torchs = CrossEncoderBackend(MODEL)
        for name in RUNS:
            chosen, qrels = rows(name, queries)
            judged = {query: qrels[query] for query, *_ in chosen}
            runs, off = {}, {}
            for engine, backend in backends.items():
                ranker = Reranker(PairScore(), backend)
                runs[engine] = {
                    query: [passages[i] for i in ranker.rank(text, texts).order]
                    for query, text, texts, passages in chosen
                }
            for _, text, texts, _ in chosen[:COMPARED]:
                calls = [ScorePair(text, passage) for passage in texts]
                right = [reply.answer for reply in torchs.run(calls)]
                for engine, backend in backends.items():
                    moved = [
                        abs(r.answer - s) for r, s in zip(backend.run(calls), right, strict=True)
                    ]
                    off[engine] = max(off.get(engine, 0.0), *moved)
            each = {engine: evaluate_each(run, judged, "nDCG@10") for engine, run in runs.items()}
            whole, small = each.values()
            low, high = interval([small[query] - whole[query] for query in whole])
            means = {engine: statistics.mean(values.values()) for engine, values in each.items()}
            print(
                json.dumps(
                    {
                        "collection": name,
                        "queries": len(chosen),
                        "nDCG@10": {engine: round(mean, 4) for engine, mean in means.items()},
                        "int8 - fp32, 95 %": [round(low, 4), round(high, 4)],
                        "largest distance from torch's scores": off,
                    }
                ),
                flush=True,
            )


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "speed"
    queries = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    {"speed": speed, "quality": quality}[what](queries)


if __name__ == "__main__":
    main()
