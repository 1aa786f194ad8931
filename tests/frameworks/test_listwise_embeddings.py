"""Listwise embedding rerankers through the components of both frameworks, sync and async."""

import asyncio

import pytest
import tiny_models

haystack = pytest.importorskip("haystack")
pytest.importorskip("llama_index.core")

from haystack import Document, Pipeline  # noqa: E402
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker  # noqa: E402
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode  # noqa: E402
from llama_index.postprocessor.rerank_plugins import PluginRerank  # noqa: E402

from rerank_plugins import load_reranker  # noqa: E402

TEXTS = ["a cat", "the life of a flea", "the sea", "fleas feed on blood"]
QUERY = "life of fleas"


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    return str(tiny_models.listwise_embedder(tokenizer, tmp_path_factory.mktemp("listwise")))


@pytest.fixture(params=["jinaai/jina-reranker-v3", "Alibaba-NLP/E2Rank-0.6B"])
def named(request, folder):
    """A checkpoint by name: its recipe, with the weights of a tiny model."""
    options = {"context_tokens": 4096}
    ranking = load_reranker(folder, preset=request.param, **options).rank(QUERY, TEXTS)
    scores = pytest.approx(ranking.scores, abs=1e-6)
    given = {"model": folder, "preset": request.param, "backend_options": options}
    return given, [TEXTS[i] for i in ranking.order], scores


def test_haystack(named):
    given, order, scores = named
    ranker = PluginRanker(**given)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    pipeline = Pipeline.loads(pipeline.dumps())
    inputs = {"query": QUERY, "documents": [Document(content=text) for text in TEXTS]}
    results = (pipeline.run({"ranker": inputs})["ranker"], asyncio.run(ranker.run_async(**inputs)))
    for found in results:
        assert [d.content for d in found["documents"]] == order
        assert [d.score for d in found["documents"]] == scores
        assert found["meta"]["score_kind"] == "similarity"
        assert found["meta"]["usage"]["generated_tokens"] == 0


def test_llama_index(named):
    given, order, scores = named
    reranker = PluginRerank(**given)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    found = (
        reranker.postprocess_nodes(nodes, query_str=QUERY),
        asyncio.run(reranker.apostprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))),
    )
    for ranked in found:
        assert [node.node.get_content() for node in ranked] == order
        assert [node.score for node in ranked] == scores
