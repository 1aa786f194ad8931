"""Pairs asked in both orders, and the preferences they give."""

import pytest

from rerank_plugins import InputError, Reranker
from rerank_plugins.calls import LabelLogprobs
from rerank_plugins.strategies import Pairwise
from rerank_plugins.testing import Failing, Oracle, Scripted


def test_both_orders_cancel_a_liking_for_the_first_place():
    """The model always prefers A; by a little more when the better passage stands there."""
    much, little = LabelLogprobs({" A": -0.1, " B": -3.0}), LabelLogprobs({" A": -0.3, " B": -1.0})
    ranking = Reranker(Pairwise(), Scripted([little, much])).rank("q", ["worse", "better"])
    assert ranking.order == (1, 0)
    assert (ranking.usage.calls, ranking.usage.batches) == (2, 1)


def test_a_failed_question_leaves_the_other_order_s_answer():
    """Each pair is asked twice; one lost answer of each pair loses no preference."""
    first_longer = lambda call: len(call.prompt.untrusted[1].text) > 1  # noqa: E731
    by_length = Oracle(key=lambda query, passage: len(passage))
    failing = Failing(when=first_longer, otherwise=by_length)
    ranking = Reranker(Pairwise(), failing, on_error="keep_order").rank("q", ["a", "abc"])
    assert ranking.order == (1, 0)
    assert ranking.report.fallbacks


def test_an_unknown_aggregate_is_refused():
    with pytest.raises(InputError, match="one of copeland, path, borda"):
        Pairwise(aggregate="vote")
