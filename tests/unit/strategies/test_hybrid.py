"""Rankings combined with the first stage: by ranks, by z-scores."""

import pytest

from rerank_plugins import InputError, Passage, Reranker
from rerank_plugins.strategies import Blend, Cascade, Hybrid, PairScore, SingleToken
from rerank_plugins.strategies._hybrid import z_scores
from rerank_plugins.testing import Oracle

BY_VALUE = Oracle(key=lambda query, passage: float(passage))


def test_blended_ranks_are_reciprocal():
    """With k = 0, ranks 1 2 3 and 3 1 2: 1 + 1/3, 1/2 + 1, 1/3 + 1/2."""
    ranking = Reranker(Blend(PairScore(), k=0), BY_VALUE).rank("q", ["1", "3", "2"])
    assert ranking.order == (1, 0, 2)
    assert ranking.score_kind == "rank"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([5.0], [0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([1.0, 2.0, 3.0], [-(1.5**0.5), 0.0, 1.5**0.5]),
        ([-1e308, 1e308], [-1.0, 1.0]),
        ([1e-320, 3e-320], [-1.0, 1.0]),
    ],
)
def test_z_scores(values, expected):
    assert z_scores(values) == pytest.approx(expected)


def test_the_first_stage_alone_and_the_reranker_alone():
    passages = [Passage("1", score=3.0), Passage("3", score=1.0), Passage("2", score=2.0)]
    for alpha, order in ((1, (0, 2, 1)), (0, (1, 2, 0))):
        ranking = Reranker(Hybrid(PairScore(), alpha=alpha), BY_VALUE).rank("q", passages)
        assert ranking.order == order


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Blend(SingleToken(), k=-1), "k is -1"),
        (lambda: Blend(SingleToken(), k=float("nan")), "k is nan"),
        (lambda: Hybrid(SingleToken(), alpha=1.1), "alpha is 1.1"),
        (lambda: Hybrid("pair-score"), "not a strategy"),
    ],
)
def test_refused_settings(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_the_reranker_s_own_scores_are_kept_by_position():
    passages = [Passage("1", score=3.0), Passage("3", score=1.0), Passage("2", score=2.0)]
    ranking = Reranker(Hybrid(PairScore(), alpha=1), BY_VALUE).rank("q", passages, top_k=1)
    assert ranking.model_scores == (1.0, 3.0, 2.0)
    assert ranking.model_score_kind == "logit"
    by_order = Reranker(Hybrid(Blend(PairScore())), BY_VALUE).rank("q", passages)
    assert by_order.model_scores == ()
    again = Reranker(Hybrid(Hybrid(PairScore())), BY_VALUE).rank("q", passages)
    assert again.model_scores == (1.0, 3.0, 2.0)  # the reranker's own, and not the first mixture
    assert again.model_score_kind == "logit"


@pytest.mark.parametrize("measure", ["cosine", "L2", "inner product", "rank"])
@pytest.mark.parametrize("nested", [False, True])
def test_distances_are_recognised(measure, nested):
    """The nearest passage comes first in every store, whatever its numbers mean."""
    numbers = {
        "cosine": [0.05, 0.3, 0.3, 0.9],
        "L2": [3.5, 12.0, 12.5, 80.0],
        "inner product": [-9.0, -4.0, -3.0, -1.0],  # negated, as pgvector and FAISS do
        "rank": [1, 2, 3, 4],
    }[measure]
    passages = [Passage("1", title="T", score=number) for number in numbers]
    strategy = Hybrid(PairScore(), alpha=1)
    if nested:  # its second stage sees another order
        strategy = Cascade(first=PairScore(), then=strategy, depth=4)
    ranking = Reranker(strategy, Oracle(key=lambda q, p: 1.0)).rank("q", passages)
    assert ranking.order == (0, 1, 2, 3)
    assert ranking.report.distances == {0, 1, 2, 3}


@pytest.mark.parametrize("scores", [[9.0, 4.0, 4.0], [4.0, 9.0, 1.0], [2.0, 2.0, 2.0], [1.0, None]])
def test_other_scores_are_as_they_are_defined(scores):
    passages = [Passage("1", score=score) for score in scores]
    ranking = Reranker(Hybrid(PairScore(), alpha=1), Oracle(key=lambda q, p: 1.0)).rank(
        "q", passages
    )
    known = [score or 0.0 for score in scores]
    expected = sorted(range(len(known)), key=lambda i: -known[i])
    assert list(ranking.order) == expected
    assert not ranking.report.distances


@pytest.mark.parametrize("kind", ["similarity", "distance"])
@pytest.mark.parametrize("turned", [False, True])
def test_what_a_passage_states_is_believed_in_any_order(kind, turned):
    """Best first or worst first: a stated similarity is no distance, and the other way round."""
    near_first = [0.9, 0.5, 0.2] if kind == "similarity" else [0.1, 0.5, 0.8]
    numbers = near_first[::-1] if turned else near_first
    passages = [Passage("1", **{kind: number}) for number in numbers]
    ranking = Reranker(Hybrid(PairScore(), alpha=1), Oracle(key=lambda q, p: 1.0)).rank(
        "q", passages
    )
    assert ranking.order == ((2, 1, 0) if turned else (0, 1, 2))
    assert not ranking.report.distances


def test_one_stated_similarity_is_enough():
    passages = [Passage("1", score=0.2), Passage("1", similarity=0.5), Passage("1", score=0.9)]
    ranking = Reranker(Hybrid(PairScore(), alpha=1), Oracle(key=lambda q, p: 1.0)).rank(
        "q", passages
    )
    assert ranking.order == (2, 1, 0)
