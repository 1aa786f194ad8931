"""Raw scores of a classifier, one for each passage."""

import math

import pytest

from rerank_plugins import ConfigurationError, ModelOutputError, Passage, Reranker
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.strategies import PairScore


class Model:
    """Answers with the given values, and remembers the calls."""

    def __init__(self, *replies):
        self.replies, self.asked = replies, []

    def run(self, calls):
        self.asked += calls
        return [self.replies[len(self.asked) - len(calls) + i] for i in range(len(calls))]


def test_scores_are_the_models_and_one_batch_asks_for_all():
    model = Model(Reply(-1.5), Reply(2.5), Reply(0))
    ranking = Reranker(PairScore(), model).rank("q", ["a", "b", "c"])
    assert ranking.order == (1, 2, 0)
    assert ranking.scores == (2.5, 0.0, -1.5)
    assert ranking.score_kind == "logit"
    assert (ranking.usage.calls, ranking.usage.batches) == (3, 1)


def test_the_kind_of_the_scores_is_the_backends():
    model = Model(*(Reply(x, score_kind="similarity") for x in (0.2, 0.5)))
    ranking = Reranker(PairScore(), model).rank("q", ["a", "b"])
    assert (ranking.order, ranking.score_kind) == ((1, 0), "similarity")


def test_logits_and_similarities_are_not_compared():
    model = Model(Reply(0.5, score_kind="similarity"), Reply(3.0))
    with pytest.raises(ConfigurationError, match="logits and others similarities"):
        Reranker(PairScore(), model).rank("q", ["a", "b"])


def test_titles_are_part_of_the_passage():
    passages = [Passage("a", title="T"), Passage("b")]
    for titled, first in (
        ("{title} {passage}", "T a"),
        ("{passage} ({title})", "a (T)"),
        ("", "a"),
    ):
        model = Model(Reply(1.0), Reply(0.0))
        Reranker(PairScore(titled=titled), model).rank("q", passages)
        assert model.asked == [ScorePair("q", first), ScorePair("q", "b")]


def test_what_the_backend_cut_is_reported():
    model = Model(Reply(1.0), Reply(0.0, truncated=(1,)))
    assert Reranker(PairScore(), model).rank("q", ["a", "b"]).report.truncated == {1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_a_failure_of_its_call(value):
    with pytest.raises(ModelOutputError, match="not a finite number"):
        Reranker(PairScore(), Model(Reply(1.0), Reply(value))).rank("q", ["a", "b"])
    kept = Reranker(PairScore(), Model(Reply(1.0), Reply(value), Reply(2.0)), on_error="keep_order")
    ranking = kept.rank("q", ["a", "b", "c"])
    assert ranking.order == (2, 1, 0)  # the unknown one keeps its place


def test_a_form_without_its_fields_is_refused():
    with pytest.raises(ConfigurationError, match="titled"):
        PairScore(titled="{title}")
