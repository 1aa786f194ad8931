"""Rankings that failures left incomplete."""

import pytest

from rerank_plugins import BackendError, Ranking, Report
from rerank_plugins.calls import Reply, ScorePair
from rerank_plugins.plans import ask, run
from rerank_plugins.strategies import PairScore
from rerank_plugins.strategies._attempt import Attempt, Scored, attempt, rank_each, rank_scored

GONE = BackendError("gone")


def test_the_result_is_the_ranking_or_the_error():
    assert Attempt(Ranking((1, 0))).result() == Ranking((1, 0))
    with pytest.raises(BackendError, match="gone"):
        Attempt(Ranking((1, 0)), GONE).result()


def test_a_strategy_that_knows_more_says_so():
    replies = [Reply(1.0), GONE, Reply(2.0)]
    known = run(attempt(PairScore(), "q", ["a", "b", "c"]), lambda calls: replies)
    assert (known.ranking.order, known.error) == ((2, 1, 0), GONE)


def test_any_other_strategy_knows_the_input_s_order():
    class Plain:
        def rank(self, query, passages):
            yield from ask([ScorePair(query, passage) for passage in passages])
            return Ranking((1, 0))

    plan = attempt(Plain(), "q", ["a", "b"])
    assert run(plan, lambda calls: [Reply(1.0), GONE]) == Attempt(Ranking((0, 1)), GONE)
    plan = attempt(Plain(), "q", ["a", "b"])
    assert run(plan, lambda calls: [Reply(1.0), Reply(2.0)]) == Attempt(Ranking((1, 0)))


def test_all_scores_are_known():
    report = Report(malformed=1)
    scored = [Scored(0.5), Scored(1.5, Report(truncated=frozenset({0})))]
    assert rank_scored(scored, "logit", report=report) == Attempt(
        Ranking((1, 0), (1.5, 0.5), "logit", report=report + Report(truncated=frozenset({1})))
    )


def test_a_passage_without_a_score_keeps_its_place():
    scored = [Scored(1.0), Scored(None), Scored(3.0), GONE, Scored(2.0)]
    missing = Report(missing=frozenset({1}))  # not 3, which failed
    assert rank_scored(scored, "logit") == Attempt(
        Ranking((2, 1, 4, 3, 0), report=missing), GONE, unread=frozenset({3})
    )


def test_no_passages():
    assert rank_scored([], "logit") == Attempt(Ranking(()))


def test_passages_are_scored_side_by_side():
    def score(passage):
        [answer] = yield from ask([ScorePair("q", passage)])
        return Scored(answer)

    batches = []

    def handle(calls):
        batches.append([call.passage for call in calls])
        return [GONE if call.passage == "b" else Reply(float(call.passage)) for call in calls]

    known = run(rank_each(score, ["1", "b", "3"], "logit"), handle)
    assert batches == [["1", "b", "3"]]
    assert (known.ranking.order, known.error) == ((2, 1, 0), GONE)
