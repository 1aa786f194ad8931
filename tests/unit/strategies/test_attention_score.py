"""Scores from attention: what is asked, and what becomes of the answer."""

import math

import pytest

from rerank_plugins import InputError, ModelOutputError, PromptTooLongError, Reranker
from rerank_plugins.calls import Attend, PassageAttention, Reply
from rerank_plugins.strategies import AttentionScore
from rerank_plugins.testing import Constant, Oracle, Scripted

PASSAGES = ["a", "b", "c"]


def test_one_call_asks_about_the_whole_list():
    model = Scripted([PassageAttention((0.1, 0.4, 0.1))])
    ranking = Reranker(AttentionScore(heads=["8-21", "0-3"]), model).rank("fleas?", PASSAGES)
    [call] = model.asked
    assert isinstance(call, Attend)
    assert call.heads == ((8, 21), (0, 3))
    assert not call.each_head
    assert call.prompt.text.endswith("\n\nQuery: fleas?")
    assert call.calibrated.text == call.prompt.text.replace("fleas?", "N/A")
    assert ranking.order == (1, 0, 2)
    assert ranking.score_kind == "z-score"
    assert ranking.scores == pytest.approx((math.sqrt(2), -math.sqrt(0.5), -math.sqrt(0.5)))


def test_equal_attention_keeps_the_order():
    ranking = Reranker(AttentionScore(), Constant()).rank("q", PASSAGES)
    assert (ranking.order, ranking.scores) == ((0, 1, 2), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("n", [0, 1])
def test_a_list_of_one_needs_no_call(n):
    assert Reranker(AttentionScore(), Oracle()).rank("q", PASSAGES[:n]).usage.calls == 0


def test_a_list_that_does_not_fit_is_shortened_and_says_so():
    texts = ["flea " * 30, "dog", "cat"]
    model = Scripted([PromptTooLongError(40, limit=100), PassageAttention((0.1, 0.2, 0.3))])
    ranking = Reranker(AttentionScore(), model).rank("q", texts)
    assert ranking.report.truncated == {0}
    assert ranking.order == (2, 1, 0)
    cut = Scripted([Reply(PassageAttention((0.1, 0.2, 0.3)), truncated=(1,))])
    assert Reranker(AttentionScore(), cut).rank("q", texts).report.truncated == {1}


@pytest.mark.parametrize("values", [(0.1, 0.2), (), (0.1, math.nan, 0.2), (math.inf,) * 3])
def test_an_answer_that_is_no_score_for_each_is_an_error(values):
    with pytest.raises(ModelOutputError, match="not 3 finite numbers"):
        Reranker(AttentionScore(), Scripted([PassageAttention(values)])).rank("q", PASSAGES)


def test_refused_settings():
    for wrong in (
        {"heads": ("8",)},
        {"heads": "8-21"},
        {"heads": (8, 21)},
        {"heads": ("-1-2",)},
        {"heads": ("8-21", "0-3", "8-21")},
        {"heads": ("8-21", "08-21")},
        {"calibration": " "},
        {"calibration": None},
    ):
        with pytest.raises(InputError):
            AttentionScore(**wrong)
