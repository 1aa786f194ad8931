"""Late interaction through the components of both frameworks, sync and async."""

import asyncio

import pytest
import tiny_models

haystack = pytest.importorskip("haystack")
pytest.importorskip("llama_index.core")

from haystack import Document, Pipeline  # noqa: E402
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker  # noqa: E402
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode  # noqa: E402
from llama_index.postprocessor.rerank_plugins import PluginRerank  # noqa: E402

from rerank_plugins import Reranker  # noqa: E402
from rerank_plugins.backends import LateInteractionBackend  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "flea", "sea", "life", "of"]
TEXTS = ["a cat", "life of a flea", "sea", "flea"]
QUERY = "life of flea"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    tiny_models.bert(WORDS, folder, "BertModel", initializer_range=0.6)
    return {"name": "late-interaction", "model": str(folder)}


@pytest.fixture(scope="module")
def expected(spec):
    ranking = Reranker("pair-score", LateInteractionBackend(spec["model"])).rank(QUERY, TEXTS)
    scores = pytest.approx(ranking.scores, abs=1e-6)
    return [TEXTS[i] for i in ranking.order], scores, ranking.scores[1]


def test_haystack_ranks_by_similarity(spec, expected):
    order, scores, second = expected
    ranker = PluginRanker(strategy="pair-score", backend=spec)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    pipeline = Pipeline.loads(pipeline.dumps())
    documents = [Document(content=text) for text in TEXTS]
    given = {"query": QUERY, "documents": documents}
    results = (pipeline.run({"ranker": given})["ranker"], asyncio.run(ranker.run_async(**given)))
    for found in results:
        assert [d.content for d in found["documents"]] == order
        assert [d.score for d in found["documents"]] == scores
        assert found["meta"]["score_kind"] == "similarity"
    assert ranker.run(**given)["meta"]["usage"]["prompt_tokens"] == 5  # the query's
    above = PluginRanker(strategy="pair-score", backend=spec, score_threshold=second)
    assert [d.content for d in above.run(**given)["documents"]] == order[:2]


def test_llama_index_ranks_by_similarity(spec, expected):
    order, scores, _ = expected
    reranker = PluginRerank(strategy="pair-score", backend=spec)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    found = (
        reranker.postprocess_nodes(nodes, query_str=QUERY),
        asyncio.run(reranker.apostprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))),
    )
    for ranked in found:
        assert [node.node.get_content() for node in ranked] == order
        assert [node.score for node in ranked] == scores
