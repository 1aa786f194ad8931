"""The query vector that the encoder writes from the best passages."""

import asyncio

import numpy as np
import pytest
from small_index import DIM, QUERY, RELEVANCE, VECTORS, key, searcher

from rerank_plugins import BackendError, InputError, UnsupportedCallError
from rerank_plugins.calls import Embed, Reply, Vectors
from rerank_plugins.components.feedback import check_method, feedback_options
from rerank_plugins.feedback import E2Rank, FeedbackSearch, find_method, refine_query
from rerank_plugins.prompts import load_prompt
from rerank_plugins.testing import Failing, Oracle

WANTED = VECTORS[0] + VECTORS[1]
BEST = np.argsort(-RELEVANCE)


class Encoder:
    """Gives the vector of what the user means, or another one."""

    kinds = frozenset({Embed})

    def __init__(self, vector=WANTED):
        self.asked, self._vector = [], tuple(map(float, 7 * np.asarray(vector)))

    def run(self, calls):
        self.asked += calls
        return [Reply(Vectors((self._vector,))) for _ in calls]


def test_the_second_search_has_the_vector_of_query_and_best_passages(index):
    encoder = Encoder()
    object_ = searcher(index, method={"name": "e2rank", "inputs": 3}, embedder=encoder)
    found = object_.search("a question", QUERY)
    first = sorted(found.first, key=lambda name: -RELEVANCE[int(name[1:])])
    template = load_prompt("e2rank.v1")
    shown = [f"passage {name[1:]}" for name in first[:3]]
    assert encoder.asked == [Embed(template.render("a question", shown).prompt)]
    expected = WANTED / np.linalg.norm(WANTED) * np.linalg.norm(QUERY)
    assert found.vector == pytest.approx(expected)
    # The index ranks by the inner product with it, which is the relevance.
    assert list(found.second) == [f"d{i}" for i in BEST[:40]]
    assert found.new
    [refinement] = found.refinements
    cosine = QUERY @ expected / (np.linalg.norm(QUERY) * np.linalg.norm(expected))
    assert refinement.angle == pytest.approx(np.degrees(np.arccos(cosine)))
    assert refinement.trust == 1.0
    assert found.usage.calls == len(found.reranked) + 1
    assert not found.skipped


def test_sync_async_and_many_agree(index):
    object_ = searcher(index, method="e2rank", embedder=Encoder())
    one = object_.search("a question", QUERY)
    [many] = object_.search_many(["a question"], [QUERY])
    other = asyncio.run(object_.asearch("a question", QUERY))
    assert one.hits == many.hits == other.hits


def test_it_goes_with_neighbours_too(index):
    found = searcher(
        index, method="e2rank", embedder=Encoder(), expand="both", window=10, depth=30
    ).search("a question", QUERY)
    assert len(found.reranked) == 30
    assert {f"d{i}" for i in BEST[:10]} <= set(found.reranked)


def test_the_reranker_s_own_backend_answers_where_it_can(index):
    class Both:
        def run(self, calls):
            model, encoder = Oracle(key=key), Encoder()
            return [(encoder if isinstance(c, Embed) else model).run([c])[0] for c in calls]

    found = searcher(index, backend=Both(), method="e2rank").search("a question", QUERY)
    assert list(found.second) == [f"d{i}" for i in BEST[:40]]


def test_a_reranker_without_vectors_is_refused_at_once(index):
    class Pairs(Oracle):
        kinds = Oracle.kinds - {Embed}

    with pytest.raises(UnsupportedCallError, match="Give embedder=EmbeddingBackend"):
        searcher(index, backend=Pairs(key=key), method="e2rank")


def test_vectors_of_another_model_are_refused(index):
    object_ = searcher(index, method="e2rank", embedder=Encoder(np.ones(DIM + 1)))
    with pytest.raises(InputError, match=f"{DIM} dimensions.*e2rank {DIM + 1}.*model that answers"):
        object_.search("a question", QUERY)


def test_a_failed_call_keeps_what_is_known(index):
    options = {"method": "e2rank", "embedder": Failing()}
    with pytest.raises(BackendError):
        searcher(index, **options).search("a question", QUERY)
    found = searcher(index, on_error="keep_order", **options).search("a question", QUERY)
    assert "the query was not written again" in found.skipped
    assert found.failed
    assert found.second == found.first
    assert len(found.reranked) == 40


def test_it_moves_no_vector_without_a_model():
    with pytest.raises(InputError, match=r"asks a model.*another method"):
        refine_query(QUERY, VECTORS[:5], RELEVANCE[:5], method="e2rank")
    for refuse in (
        lambda: check_method("e2rank"),
        lambda: check_method(E2Rank(inputs=3)),
        lambda: feedback_options(
            search_k=10, depth=None, top_k=5, raise_on_failure=False, method="e2rank"
        ),
    ):
        with pytest.raises(InputError, match="in a FeedbackSearch alone"):
            refuse()


def test_its_numbers_and_prompts():
    assert find_method({"name": "e2rank", "inputs": 5}) == E2Rank(inputs=5)
    with pytest.raises(InputError, match="inputs"):
        E2Rank(inputs=0)
    with pytest.raises(InputError, match="Use BlockEmbedding"):
        E2Rank(prompt="jina-reranker-v3.v1")


def test_a_zero_query_has_no_length_to_keep(index):
    found = FeedbackSearch(
        index, searcher(index).reranker, method="e2rank", embedder=Encoder(), k=5
    ).search("a question", np.zeros(DIM))
    assert np.isfinite(found.vector).all()
