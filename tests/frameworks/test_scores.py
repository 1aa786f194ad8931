"""Scores of stores and of results in both frameworks: directions, units, thresholds."""

import asyncio
import math

import numpy as np
import pytest
from haystack import Document, component
from haystack_integrations.components.rankers.rerank_plugins import (
    FirstRanker,
    FullListRanker,
    PluginRanker,
    PointwiseRanker,
)
from haystack_integrations.components.retrievers.rerank_plugins import FeedbackRetriever
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.rerank_plugins import (
    FirstRerank,
    FullListRerank,
    PluginRerank,
    PointwiseRerank,
)
from llama_index.retrievers.rerank_plugins import FeedbackRetriever as NodeFeedbackRetriever

from rerank_plugins import InputError
from rerank_plugins.strategies import Hybrid, PairScore
from rerank_plugins.testing import Oracle

MODES = pytest.mark.parametrize("mode", ["sync", "async"])
LOGITS = {"a": 2.0, "b": 0.0, "c": -3.0}
SIGMOIDS = [1 / (1 + math.exp(-x)) for x in (2.0, 0.0, -3.0)]


def model():
    return Oracle(key=lambda query, passage: LOGITS[passage])


def haystack(mode, texts, scores=None, ranker=PluginRanker, given=iter, **options):
    """The texts and scores of a result, and its meta."""
    scores = scores or [None] * len(texts)
    documents = [Document(id=t, content=t, score=s) for t, s in zip(texts, scores, strict=True)]
    options = {"strategy": "pair-score", **options} if ranker is PluginRanker else options
    part = ranker(backend=model(), **options)
    run = part.run if mode == "sync" else lambda **k: asyncio.run(part.run_async(**k))
    found = run(query="q", documents=given(documents))
    return [(d.content, d.score) for d in found["documents"]], found["meta"]


def llama_index(mode, texts, scores=None, ranker=PluginRerank, given=iter, **options):
    scores = scores or [None] * len(texts)
    nodes = [
        NodeWithScore(node=TextNode(id_=t, text=t), score=s)
        for t, s in zip(texts, scores, strict=True)
    ]
    options = {"strategy": "pair-score", **options} if ranker is PluginRerank else options
    part = ranker(backend=model(), **options)
    run = part.ranked if mode == "sync" else lambda *a: asyncio.run(part.aranked(*a))
    found, meta = run(given(nodes), QueryBundle("q"))
    return [(n.node.get_content(), n.score) for n in found], meta


FRAMEWORKS = pytest.mark.parametrize("rank", [haystack, llama_index])
MIXED = Hybrid(PairScore(), alpha=0.9, places=False)


@MODES
@FRAMEWORKS
@pytest.mark.parametrize(
    ("scores", "kind", "order"),
    [
        ([0.9, 0.5, 0.1], "similarity", "cba"),  # the retriever decides with alpha = 0.9
        ([0.1, 0.5, 0.9], "distance", "cba"),
        ([0.0, 0.0, 7.0], "distance", "bca"),  # equal distances: then the model decides
        ([-0.9, -0.5, -0.1], "distance", "cba"),
        ([0.5, 0.9, 0.1], "unknown", "abc"),  # the model alone
        ([0.5, 0.5, 0.5], "unknown", "abc"),
        ([0.5, None, 0.1], "incomplete", "abc"),
        (None, "none", "abc"),
    ],
)
def test_the_retriever_s_vote_is_never_inverted(rank, mode, scores, kind, order):
    found, meta = rank(mode, "cba", scores, strategy=MIXED)
    assert "".join(text for text, _ in found) == order
    assert meta["retriever_scores"] == kind
    assert meta["score_kind"] == ("z-score" if kind in ("similarity", "distance") else "logit")


@MODES
@FRAMEWORKS
@pytest.mark.parametrize("scores", [None, [0.9, 0.5, 0.1], [0.1, 0.5, 0.9], [0.5, 0.9, 0.1]])
@pytest.mark.parametrize(("threshold", "kept"), [(0.5, "a"), (0.0, "ab"), (-9.0, "abc")])
def test_a_threshold_is_in_the_model_s_unit_with_and_without_scores(
    rank, mode, scores, threshold, kept
):
    for strategy in (MIXED, Hybrid(PairScore(), alpha=0.9), PairScore()):
        found, meta = rank(mode, "cba", scores, strategy=strategy, score_threshold=threshold)
        assert {text for text, _ in found} == set(kept)
        assert meta["score_threshold_applied"]


@MODES
@FRAMEWORKS
@pytest.mark.parametrize("score", [None, 0.9])
def test_one_document_has_the_model_s_score(rank, mode, score):
    kept, _ = rank(mode, "a", [score], strategy=MIXED, score_threshold=0.5)
    dropped, _ = rank(mode, "c", [score], strategy=MIXED, score_threshold=0.5)
    assert (kept, dropped) == ([("a", 2.0)], [])


@MODES
@FRAMEWORKS
def test_scores_from_0_to_1(rank, mode):
    found, meta = rank(mode, "cba", scale_score=True)
    assert [score for _, score in found] == pytest.approx(SIGMOIDS)
    assert (meta["score_kind"], meta["score_scaled"]) == ("probability", True)
    above, _ = rank(mode, "cba", scale_score=True, score_threshold=0.5)
    assert [text for text, _ in above] == ["a", "b"]
    plain, meta = rank(mode, "cba")
    assert [score for _, score in plain] == [2.0, 0.0, -3.0]
    assert (meta["score_kind"], meta["score_scaled"]) == ("logit", False)


@MODES
def test_log_probabilities_and_grades_from_0_to_1(mode):
    for rank, first, point in (
        (haystack, FirstRanker, PointwiseRanker),
        (llama_index, FirstRerank, PointwiseRerank),
    ):
        plain, before = rank(mode, "cba", ranker=first)
        scaled, meta = rank(mode, "cba", ranker=first, scale_score=True)
        assert before["score_kind"] == "logprob"
        assert [s for _, s in scaled] == pytest.approx([math.exp(s) for _, s in plain])
        assert meta["score_kind"] == "probability"
        plain, before = rank(mode, "cba", ranker=point, prompt="erank.v1")
        scaled, meta = rank(mode, "cba", ranker=point, prompt="erank.v1", scale_score=True)
        assert [s for _, s in scaled] == pytest.approx([s / 10 for _, s in plain])
        assert (before["score_kind"], meta["score_kind"]) == ("grade", "grade")


@MODES
def test_what_has_no_scale_stays_as_it_is_and_is_told(mode, caplog):
    for rank, ranker in ((haystack, FullListRanker), (llama_index, FullListRerank)):
        found, meta = rank(mode, "cba", ranker=ranker, scale_score=True, score_threshold=0.1)
        assert [s for _, s in found] == pytest.approx([1, 1 / 2, 1 / 3])
        assert (meta["score_kind"], meta["score_scaled"]) == ("rank", False)
        assert "score_threshold and scale_score are ignored" in caplog.text
        caplog.clear()
    for rank in (haystack, llama_index):
        found, meta = rank(mode, "cba", [3.0, 2.0, 1.0], strategy=MIXED, scale_score=True)
        assert (meta["score_kind"], meta["score_scaled"]) == ("z-score", False)
        assert "scale_score is ignored" in caplog.text
        caplog.clear()


def test_a_run_scales_or_not():
    ranker = PluginRanker(strategy="pair-score", backend=model(), scale_score=True)
    documents = [Document(content="a")]
    assert ranker.run(query="q", documents=documents)["documents"][0].score < 1
    plain = ranker.run(query="q", documents=documents, scale_score=False)
    assert plain["documents"][0].score == 2.0
    with pytest.raises(InputError, match="scale_score"):
        ranker.run(query="q", documents=documents, scale_score="yes")


@MODES
@FRAMEWORKS
@pytest.mark.parametrize("given", [tuple, iter, lambda items: (item for item in items)])
def test_items_in_any_iterable(rank, mode, given):
    assert [text for text, _ in rank(mode, "cba", given=given)[0]] == ["a", "b", "c"]


@pytest.mark.parametrize("meta", [{}, None, {"title": None}, {"title": ""}])
def test_empty_metadata_adds_nothing_to_the_text(meta):
    ranker = PluginRanker(
        strategy="pair-score", backend=model(), meta_fields_to_embed=["title", "author"]
    )
    found = ranker.run(query="q", documents=[Document(content="a", meta=meta)])
    assert found["documents"][0].score == 2.0


WRONG = [
    ("score_threshold", "high"),
    ("score_threshold", math.nan),
    ("scale_score", "yes"),
    ("drop_unranked", 1),
]


@pytest.mark.parametrize(
    ("name", "value"),
    [*WRONG, ("top_k", 0), ("top_k", "3"), ("top_k", True), ("meta_fields_to_embed", "title")],
)
def test_what_is_assigned_to_a_ranker_is_checked(name, value):
    ranker = PluginRanker(strategy="pair-score", backend=model())
    before = getattr(ranker, name)
    with pytest.raises(InputError, match=name):
        setattr(ranker, name, value)
    assert getattr(ranker, name) == before
    with pytest.raises(InputError, match=name):
        PluginRanker(strategy="pair-score", backend=model(), **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [*WRONG, ("top_n", 0), ("top_n", "3"), ("top_n", True), ("metadata_mode", "no such mode")],
)
def test_what_is_assigned_to_a_postprocessor_is_checked(name, value):
    reranker = PluginRerank(strategy="pair-score", backend=model())
    before = getattr(reranker, name)
    with pytest.raises(ValueError, match=name):
        setattr(reranker, name, value)
    assert getattr(reranker, name) == before
    with pytest.raises(ValueError, match=name):
        PluginRerank(strategy="pair-score", backend=model(), **{name: value})


def test_what_a_ranker_was_built_from_cannot_be_assigned():
    ranker = PluginRanker(strategy="pair-score", backend=model())
    for name in ("strategy", "backend", "model", "preset", "limits", "raise_on_failure"):
        with pytest.raises(InputError, match="cannot be changed"):
            setattr(ranker, name, None)
    ranker.top_k, ranker.score_threshold, ranker.scale_score = 1, 0.8, True
    found = ranker.run(query="q", documents=[Document(content=t) for t in "cba"])["documents"]
    assert [d.content for d in found] == ["a"]


N = 60
VECTORS = np.random.default_rng(5).normal(size=(N, 6))
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERY = VECTORS[0].tolist()
WANTED = VECTORS @ (VECTORS[0] + VECTORS[1])


def wanted():
    return Oracle(key=lambda query, passage: float(WANTED[int(passage)]))


def search(vector, distances):
    """The nearest 12: numbers, and similarities or squared distances."""
    found = VECTORS @ np.array(vector)
    best = np.argsort(-found)[:12]
    return [(int(i), float(2 - 2 * found[i] if distances else found[i])) for i in best]


@component
class Store:
    def __init__(self, distances):
        self.distances = distances

    @component.output_types(documents=list[Document])
    def run(self, query_embedding: list[float], filters: dict | None = None, top_k: int = 10):
        return {
            "documents": [
                Document(id=str(i), content=str(i), score=s, embedding=VECTORS[i].tolist())
                for i, s in search(query_embedding, self.distances)
            ]
        }


class NodeStore(BaseRetriever):
    def __init__(self, distances):
        super().__init__()
        self.distances = distances

    def _retrieve(self, query_bundle):
        return [
            NodeWithScore(
                node=TextNode(id_=str(i), text=str(i), embedding=VECTORS[i].tolist()), score=s
            )
            for i, s in search(query_bundle.embedding, self.distances)
        ]


@MODES
@pytest.mark.parametrize("scale_score", [False, True])
def test_feedback_over_distances_is_feedback_over_similarities(mode, scale_score):
    options = {"strategy": Hybrid(PairScore(), alpha=0.7), "scale_score": scale_score}
    orders = []
    for distances in (False, True):
        part = FeedbackRetriever(
            retriever=Store(distances), ranker=PluginRanker(backend=wanted(), **options)
        )
        asked = {"query": "q", "query_embedding": QUERY}
        run = part.run if mode == "sync" else lambda p=part, **k: asyncio.run(p.run_async(**k))
        orders.append([d.id for d in run(**asked)["documents"]])
        nodes = NodeFeedbackRetriever(
            NodeStore(distances), PluginRerank(backend=wanted(), **options)
        )
        bundle = QueryBundle("q", embedding=QUERY)
        found = nodes.retrieve(bundle) if mode == "sync" else asyncio.run(nodes.aretrieve(bundle))
        orders.append([n.node.node_id for n in found])
    assert len(set(map(tuple, orders))) == 1


@MODES
def test_many_queries_in_any_iterable(mode):
    ranker = PluginRanker(strategy="pair-score", backend=wanted())
    part = FeedbackRetriever(retriever=Store(distances=False), ranker=ranker)
    many = part.run_many if mode == "sync" else lambda **k: asyncio.run(part.run_many_async(**k))
    given = [VECTORS[i].tolist() for i in (0, 7)]
    expected = many(queries=["a", "b"], query_embeddings=given)
    found = many(queries=iter(["a", "b"]), query_embeddings=iter(given))
    assert [r["documents"] for r in found] == [r["documents"] for r in expected]


@MODES
def test_feedback_learns_from_plain_scores(mode):
    """`scale_score` of the ranker changes nothing: the refined embedding is the same."""
    found = []
    for scale_score in (False, True):
        ranker = PluginRanker(strategy="pair-score", backend=wanted(), scale_score=scale_score)
        part = FeedbackRetriever(retriever=Store(distances=False), ranker=ranker)
        run = part.run if mode == "sync" else lambda p=part, **k: asyncio.run(p.run_async(**k))
        found.append(run(query="q", query_embedding=QUERY))
    assert found[0]["query_embedding"] == found[1]["query_embedding"] != QUERY
    assert found[0]["meta"]["score_kind"] == found[1]["meta"]["score_kind"]
    for scale_score in (False, True):
        reranker = PluginRerank(strategy="pair-score", backend=wanted(), scale_score=scale_score)
        nodes = NodeFeedbackRetriever(NodeStore(distances=False), reranker)
        bundle = QueryBundle("q", embedding=QUERY)
        out = nodes.retrieve(bundle) if mode == "sync" else asyncio.run(nodes.aretrieve(bundle))
        expected = [(d.id, d.score) for d in found[0]["documents"]]
        assert [(n.node.node_id, n.score) for n in out] == expected


@MODES
@pytest.mark.parametrize("rank", [haystack, llama_index])
def test_fewer_items_where_fewer_are_relevant(rank, mode):
    """Logits of 2, 0 and -3: the largest drop is after the second."""
    texts = ["c", "b", "a"]
    lines, meta = rank(mode, texts, cut_at_gap=True)
    assert [text for text, _ in lines] == ["a", "b"]
    assert meta["cut"] == 1
    lines, meta = rank(mode, texts, score_threshold=0.6, scale_score=True, keep_at_least=2)
    assert [text for text, _ in lines] == ["a", "b"]
    assert (meta["cut"], meta["score_threshold_applied"]) == (1, True)
    assert rank(mode, texts, score_threshold=9.0)[0] == []


@pytest.mark.parametrize("make", [PluginRanker, PluginRerank])
@pytest.mark.parametrize(
    "wrong", [{"cut_at_gap": "yes"}, {"keep_at_least": -1}, {"chunk_words": 0}]
)
def test_a_wrong_cut_or_chunk_is_refused(make, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removeprefix("chunk_")):
        make(strategy="pair-score", backend=model(), **wrong)
