"""What a user's own strict type checker must accept."""

from typing import Any

from haystack import Document, Pipeline
from haystack.utils import ComponentDevice, Secret
from haystack_integrations.components.rankers.rerank_plugins import FirstRanker, PluginRanker
from langchain_core.documents import Document as LangChainDocument
from langchain_rerank_plugins import PluginRerank as LangChainRerank
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.rerank_plugins import FirstRerank, PluginRerank

from rerank_plugins import Limits, Ranking, Reranker, load_reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.strategies import SingleToken, SlidingWindow


def core(passages: list[str]) -> Ranking:
    reranker: Reranker = load_reranker("castorini/first_mistral", limits=Limits(timeout_s=30))
    return reranker.rank("a question", passages, top_k=3)


def haystack(documents: list[Document]) -> list[Document]:
    ranker = FirstRanker(
        model="castorini/first_mistral",
        device=ComponentDevice.from_str("cuda:0"),
        token=Secret.from_env_var("HF_TOKEN"),
        top_k=5,
    )
    plugin = PluginRanker(
        strategy=SlidingWindow(inner=SingleToken()), backend=TransformersBackend("m")
    )
    pipeline = Pipeline()
    pipeline.add_component("ranker", plugin)
    result: dict[str, Any] = ranker.run(query="a question", documents=documents, top_k=2)
    found: list[Document] = result["documents"]
    return found


async def asynchronous(documents: list[Document]) -> dict[str, Any]:
    return await PluginRanker(model="castorini/rank_vicuna_7b_v1").run_async(
        query="a question", documents=documents
    )


def llama_index() -> list[NodeWithScore]:
    first = FirstRerank(model="castorini/first_mistral", top_n=None)
    plugin = PluginRerank(strategy="query-likelihood", model="m", limits={"max_calls": 100})
    nodes = [NodeWithScore(node=TextNode(text="a passage"))]
    return plugin.postprocess_nodes(first.postprocess_nodes(nodes, query_str="q"), query_str="q")


def langchain(documents: list[LangChainDocument]) -> list[LangChainDocument]:
    return LangChainRerank(model="castorini/first_mistral", top_n=5).compress_documents(
        documents, "a question"
    )


def wrong_arguments() -> None:
    LangChainRerank(windw=3)  # type: ignore[call-arg]
    FirstRerank(windw=3)  # type: ignore[call-arg]
    FirstRerank(policy="guess")  # type: ignore[arg-type]
    PluginRerank(preset=3)  # type: ignore[arg-type]
