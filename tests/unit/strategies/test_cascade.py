"""Two stages: the second reorders the best of the first."""

import pytest

from rerank_plugins import InputError, Ranking, Reranker
from rerank_plugins.calls import ScorePair
from rerank_plugins.strategies import (
    Cascade,
    Hybrid,
    KeepOrder,
    PairScore,
    Permutation,
    Pointwise,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
)
from rerank_plugins.testing import Failing, Oracle, Scripted

TEXTS = ["3", "1", "4", "2"]
BY_VALUE = Oracle(key=lambda query, passage: float(passage))


class Reversed:
    """Reverses what it is given."""

    def rank(self, query, passages):
        yield from ()
        return Ranking(tuple(reversed(range(len(passages)))))


def test_the_second_stage_orders_the_best_and_the_first_the_rest():
    ranking = Reranker(Cascade(first=PairScore(), then=Reversed(), depth=3), BY_VALUE)
    found = ranking.rank("q", TEXTS)
    assert [TEXTS[i] for i in found.order] == ["2", "3", "4", "1"]  # 4 3 2, reversed, then 1
    assert found.score_kind == "rank"


def test_a_second_stage_over_the_whole_list_gives_its_scores():
    found = Reranker(Cascade(first=Reversed(), then=PairScore(), depth=4), BY_VALUE)
    ranking = found.rank("q", TEXTS)
    assert ranking.scores == (4.0, 3.0, 2.0, 1.0)
    assert ranking.score_kind == "logit"


def test_a_second_stage_over_the_whole_list_gives_the_model_s_own_scores_too():
    mixed = Cascade(first=Reversed(), then=Hybrid(PairScore()), depth=4)
    ranking = Reranker(mixed, BY_VALUE).rank("q", TEXTS)
    assert ranking.score_kind == "z-score"
    assert ranking.model_scores == (3.0, 1.0, 4.0, 2.0)  # by position in the caller's list
    assert ranking.model_score_kind == "logit"
    shallow = Cascade(first=Reversed(), then=Hybrid(PairScore()), depth=3)
    assert Reranker(shallow, BY_VALUE).rank("q", TEXTS).model_scores == ()


@pytest.mark.parametrize("around", [KeepOrder, SlidingWindow, TopDown, Tournament])
def test_what_is_around_a_single_list_leaves_the_model_s_own_scores(around):
    ranking = Reranker(around(Hybrid(PairScore())), BY_VALUE).rank("q", TEXTS)
    assert ranking.model_scores == (3.0, 1.0, 4.0, 2.0)


def test_a_failure_of_the_second_stage_keeps_the_first_stage_s_order():
    failing = Failing(when=lambda call: not isinstance(call, ScorePair), otherwise=BY_VALUE)
    cascade = Cascade(first=PairScore(), then=Pointwise(), depth=2)
    ranking = Reranker(cascade, failing, on_error="keep_order").rank("q", TEXTS)
    assert [TEXTS[i] for i in ranking.order] == ["4", "3", "2", "1"]
    assert ranking.report.fallbacks


def test_refused_settings():
    with pytest.raises(InputError, match="depth is 0"):
        Cascade(first=SingleToken(), then=SingleToken(), depth=0)
    with pytest.raises(InputError, match="not a strategy"):
        Cascade(first="pair-score", then=SingleToken())


def test_the_last_stage_decides_what_is_irrelevant():
    stages = {"first": Permutation(allow_none=True), "then": Permutation(allow_none=True)}
    ranking = Reranker(Cascade(**stages, depth=2), Scripted(["none", "[2] > [1]"])).rank(
        "q", ["a", "b", "c"]
    )
    assert (ranking.order, ranking.report.irrelevant) == ((1, 0, 2), {2})
