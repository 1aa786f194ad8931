"""Rankings refuse to be anything else."""

import math

import pytest

from rerank_plugins import ContractError, RankedPassage, Ranking, Report, Usage
from rerank_plugins.ranking import by_score, input_order


@pytest.mark.parametrize(
    ("order", "scores"),
    [
        ((0, 0), (1.0, 0.5)),
        ((0, 1), (1.0,)),
        ((0, 1), (0.5, 1.0)),
        ((0, 1), (1.0, math.nan)),
        ((0, 1), (math.inf, 1.0)),
    ],
)
def test_what_is_not_a_ranking_is_refused(order, scores):
    with pytest.raises(ContractError):
        Ranking(order, scores, "logit")


def test_scores_may_only_be_left_out_for_ranks():
    with pytest.raises(ContractError, match="without scores"):
        Ranking((0, 1), (), "logit")
    assert Ranking(()).scores == ()


def test_ties_keep_the_input_order():
    assert by_score([1.0, 2.0, 1.0, 2.0], "logit").order == (1, 3, 0, 2)


def test_top_and_ranked_keep_the_callers_objects():
    objects = [object(), object(), object()]
    ranking = by_score([0.0, 2.0, 1.0], "grade")
    assert ranking.top(None) == ranking
    assert ranking.top(2).ranked(objects) == [
        RankedPassage(objects[1], 1, 1, 2.0),
        RankedPassage(objects[2], 2, 2, 1.0),
    ]


def test_usage_adds_up():
    one = Usage(calls=1, batches=2, prompt_tokens=3, generated_tokens=4, seconds=5.0)
    assert one + one == Usage(calls=2, batches=4, prompt_tokens=6, generated_tokens=8, seconds=10.0)


def test_reports_add_up_and_move_with_their_list():
    one = Report(malformed=1, missing=frozenset({1}), truncated=frozenset({0}), fallbacks=("a",))
    two = Report(
        missing=frozenset({0}),
        duplicates=1,
        out_of_range=3,
        unseen_labels=4,
        written_orders=2,
        truncated=frozenset({1}),
    )
    assert one + two.mapped([7, 9]) == Report(
        malformed=1,
        missing=frozenset({1, 7}),
        duplicates=1,
        out_of_range=3,
        unseen_labels=4,
        written_orders=2,
        truncated=frozenset({0, 9}),
        fallbacks=("a",),
    )
    assert one.fallback
    assert not two.fallback
    assert input_order(2, report=one).report == one
