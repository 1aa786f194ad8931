"""Long passages and the margin gate in both frameworks, by a strategy's spec."""

import pytest

pytest.importorskip("haystack")
pytest.importorskip("llama_index.core")

from haystack import Document, Pipeline
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.rerank_plugins import PluginRerank

from rerank_plugins import InputError, load_reranker
from rerank_plugins.strategies import BestChunk, PairScore
from rerank_plugins.testing import Oracle

CHUNKS = {"name": "best-chunk", "inner": "pair-score", "words": 3, "overlap": 1}
GATE = {"name": "when", "inner": "pair-score", "margin": 0.5}
TEXTS = ["a dog", "a cat and a mouse and a flea", "a wolf"]


def oracle():
    return Oracle(key=lambda query, passage: float(query in passage))


def haystack(strategy, scores, backend):
    pipeline = Pipeline()
    pipeline.add_component("ranker", PluginRanker(strategy=strategy, backend=backend))
    pipeline = Pipeline.loads(pipeline.dumps()) if backend == "oracle" else pipeline
    documents = [Document(content=t, score=s) for t, s in zip(TEXTS, scores, strict=True)]
    found = pipeline.run({"ranker": {"query": "flea", "documents": documents}})["ranker"]
    return [document.content for document in found["documents"]], found["meta"]


def test_a_long_document_is_judged_by_its_chunks():
    backend = oracle()
    texts, meta = haystack(CHUNKS, [3.0, 2.0, 1.0], backend)
    assert texts == [TEXTS[1], TEXTS[0], TEXTS[2]]
    assert meta["usage"]["calls"] == 6 == len(backend.asked)
    assert (meta["score_kind"], meta["skipped"], meta["unscored"]) == ("logit", 0, 0)


def test_a_pipeline_with_chunks_is_stored():
    assert sorted(haystack(CHUNKS, [3.0, 2.0, 1.0], "oracle")[0]) == sorted(TEXTS)


def test_a_long_node_is_judged_by_its_chunks():
    nodes = [NodeWithScore(node=TextNode(text=t), score=0.5 - i / 10) for i, t in enumerate(TEXTS)]
    found = PluginRerank(strategy=CHUNKS, backend=oracle()).postprocess_nodes(
        nodes, query_str="flea"
    )
    assert [node.text for node in found] == [TEXTS[1], TEXTS[0], TEXTS[2]]


@pytest.mark.parametrize(
    ("scores", "skipped", "unscored"),
    [([9.0, 2.0, 1.0], 1, 0), ([9.0, 8.0, 1.0], 0, 0), ([None, None, None], 0, 3)],
)
def test_a_sure_retriever_is_not_reranked_and_the_meta_says_so(scores, skipped, unscored):
    texts, meta = haystack(GATE, scores, oracle())
    assert texts[0] == (TEXTS[0] if skipped else TEXTS[1])
    assert (meta["skipped"], meta["unscored"]) == (skipped, unscored)
    assert meta["usage"]["calls"] == (0 if skipped else 3)


def test_chunk_words_is_one_name_everywhere():
    """Chunks of three words: the flea is in the third of three."""
    document = Document(content=TEXTS[1])
    ranker = PluginRanker(strategy="pair-score", backend="oracle", chunk_words=3)
    assert ranker.run(query="flea", documents=[document])["meta"]["usage"]["calls"] == 3
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    assert Pipeline.loads(pipeline.dumps()).get_component("ranker").chunk_words == 3
    node = NodeWithScore(node=TextNode(text=TEXTS[1]))
    rerank = PluginRerank(strategy="pair-score", backend="oracle", chunk_words=3)
    assert rerank.ranked([node], QueryBundle("flea"))[1]["usage"]["calls"] == 3
    assert PluginRerank.from_json(rerank.to_json()).chunk_words == 3
    spec = {"strategy": "pair-score", "backend": "oracle", "chunk_words": 3}
    for reranker in (load_reranker(spec), load_reranker(spec | {"chunk_words": 9}, chunk_words=3)):
        assert reranker.strategy == BestChunk(PairScore(), words=3)
    assert load_reranker(chunk_words=90).strategy.inner == BestChunk(PairScore(), words=90)
    named = {"model": "rerank-plugins/minilm-late-interaction", "chunk_words": 90}
    assert PluginRanker(named)._reranker.strategy.inner == BestChunk(PairScore(), words=90)


@pytest.mark.parametrize("words", [0, -1, 1.5, "9", True])
def test_chunk_words_out_of_range_are_named(words):
    for make in (PluginRanker, PluginRerank, load_reranker):
        with pytest.raises(InputError, match="chunk_words is"):
            make(strategy="pair-score", backend="oracle", chunk_words=words)
