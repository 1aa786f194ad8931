"""The window schedule for every list length at which public code is known to fail."""

import pytest

from rerank_plugins import InputError, Ranking
from rerank_plugins.calls import LabelLogprobs, NextToken, Reply
from rerank_plugins.plans import Done, run, step
from rerank_plugins.strategies import Permutation, SingleToken, SlidingWindow, windows
from rerank_plugins.testing import Oracle

# Positions [start, stop) of each window of 20 with stride 10, from the bottom to the top.
TRACES = {
    0: [],
    1: [(0, 1)],
    2: [(0, 2)],
    9: [(0, 9)],
    10: [(0, 10)],  # w - s: the official code reranks nothing here
    11: [(0, 11)],
    19: [(0, 19)],  # shorter than a window: RankGPT and DeAR rerank nothing here
    20: [(0, 20)],
    21: [(1, 21), (0, 11)],
    25: [(5, 25), (0, 15)],
    30: [(10, 30), (0, 20)],
    99: [(s, s + 20) for s in range(79, 8, -10)] + [(0, 19)],
    100: [(s, s + 20) for s in range(80, -1, -10)],
}


@pytest.mark.parametrize("n", TRACES)
def test_the_documented_trace(n):
    assert [(w.start, w.stop) for w in windows(n, 20, 10)] == TRACES[n]


@pytest.mark.parametrize("n", TRACES)
def test_the_model_is_asked_about_those_windows(n):
    """With a model that changes nothing, the windows hold exactly the passages of the trace."""
    same = Oracle(key=lambda query, passage: 1.0)
    texts = [f"passage {i}" for i in range(n)]
    run(SlidingWindow(inner=SingleToken()).rank("q", texts), same.run)
    seen = [[p.text for p in c.prompt.untrusted if p.kind == "passage"] for c in same.asked]
    expected = [texts[start:stop] for start, stop in TRACES[n] if stop - start > 1]
    assert seen == expected
    assert [len(c.labels) for c in same.asked] == [len(w) for w in expected]


def test_100_passages_cost_nine_calls():
    assert len(list(windows(100, 20, 10))) == 9


@pytest.mark.parametrize("n", [20, 21, 30, 55, 100])
def test_the_best_passage_reaches_the_top_from_anywhere(n):
    for best in (0, n // 2, n - 1):
        oracle = Oracle(key=lambda query, passage, best=best: float(passage == f"p{best}"))
        plan = SlidingWindow(inner=SingleToken()).rank("q", [f"p{i}" for i in range(n)])
        assert run(plan, oracle.run).order[0] == best


def test_a_window_of_one_passage_is_not_asked_about():
    oracle = Oracle()
    run(SlidingWindow(inner=SingleToken(), size=2, stride=1).rank("q", ["a"]), oracle.run)
    assert oracle.asked == []


def test_by_hand():
    plan = SlidingWindow(inner=SingleToken(), size=2, stride=1).rank("q", ["a", "b", "c"])
    b_wins = [Reply(LabelLogprobs({"A": -2.0, "B": -0.1}))]
    [call] = step(plan)  # the model is asked about b and c
    assert isinstance(call, NextToken)
    assert call.labels == ("A", "B")
    assert "[A] b\n[B] c" in call.prompt.text
    [call] = step(plan, b_wins)
    assert "[A] a\n[B] c" in call.prompt.text  # c won; now a against c
    assert step(plan, b_wins) == Done(Ranking((2, 0, 1)))


def test_one_window_gives_the_inner_scores_and_more_give_ranks():
    model = Oracle()
    short = run(SlidingWindow(inner=SingleToken()).rank("q", ["a", "b"]), model.run)
    long = run(
        SlidingWindow(inner=SingleToken(), size=2, stride=1).rank("q", ["a", "b", "c"]), model.run
    )
    assert (short.score_kind, long.score_kind) == ("logprob", "rank")
    assert long.scores == (1.0, 1 / 2, 1 / 3)


def test_reports_speak_of_the_callers_positions():
    long_text = "word " * 400
    texts = ["a"] * 24 + [long_text]
    ranking = run(SlidingWindow(inner=Permutation()).rank("q", texts), Oracle().run)
    assert ranking.report.truncated == {24}


@pytest.mark.parametrize(
    ("size", "stride", "message"),
    [
        (1, 1, "size is 1"),
        (0, 1, "size"),
        (20, 20, "stride"),
        (20, 21, "stride"),
        (20, 0, "stride"),
    ],
)
def test_bad_windows_are_refused(size, stride, message):
    with pytest.raises(InputError, match=message):
        SlidingWindow(inner=SingleToken(), size=size, stride=stride)
