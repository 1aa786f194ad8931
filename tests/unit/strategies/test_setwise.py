"""Sorts that ask a model for the best of a small set."""

import pytest

from rerank_plugins import InputError, Reranker
from rerank_plugins.strategies import Setwise
from rerank_plugins.testing import Failing, Oracle, Scripted


def test_a_reasoned_choice_is_never_read_from_the_reasoning():
    strategy = Setwise(prompt="rank-r1.v1", answer="written", others=2, top_m=1)
    script = ["<think>surely [2]", "<think>[1]?</think><answer>[3]</answer>"]
    for text, first, malformed in zip(script, (0, 2), (1, 0), strict=True):
        ranking = Reranker(strategy, Scripted([text])).rank("q", ["a", "b", "c"])
        assert ranking.order[0] == first
        assert ranking.report.malformed == malformed


@pytest.mark.parametrize("method", ["heap", "bubble"])
@pytest.mark.parametrize("answer", ["likelihood", "written"])
@pytest.mark.parametrize("others", [1, 2, 5])
def test_the_top_is_sorted_and_the_rest_is_a_permutation(method, answer, others):
    values = [3, 1, 4, 1, 5, 9, 2, 6]
    model = Oracle(key=lambda query, passage: float(passage))
    strategy = Setwise(method=method, answer=answer, others=others, top_m=3)
    ranking = Reranker(strategy, model).rank("q", list(map(str, values)))
    assert [values[i] for i in ranking.order[:3]] == [9, 6, 5]
    assert sorted(ranking.order) == list(range(8))
    if method == "heap":
        assert list(ranking.order[3:]) == sorted(ranking.order[3:])  # the input's order


def test_an_answer_that_names_none_keeps_the_higher_one():
    strategy = Setwise(answer="written", method="bubble", others=1, top_m=1)
    ranking = Reranker(strategy, Scripted(["It depends."] * 2)).rank("q", ["a", "b", "c"])
    assert ranking.order == (0, 1, 2)
    assert ranking.report.malformed == 2


def test_a_failure_keeps_the_places_that_are_sorted():
    """Three questions build a heap of three; the one after the first place fails."""
    count = iter(range(99))
    model = Oracle(key=lambda query, passage: float(passage))
    failing = Failing(when=lambda call: next(count) >= 3, otherwise=model)
    strategy = Setwise(others=1)
    ranking = Reranker(strategy, failing, on_error="keep_order").rank("q", ["1", "2", "3"])
    assert ranking.order == (2, 0, 1)
    assert ranking.report.fallbacks


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "quick"}, "one of bubble, heap"),
        ({"answer": "aloud"}, "likelihood, written"),
        ({"others": 26}, "26 identifiers"),
        ({"top_m": 0}, "top_m is 0"),
        ({"allow_none": True}, "allow_none needs an answer in words"),
        ({"prompt": "full-list-tokens.v1", "answer": "written"}, "letters or numbers"),
    ],
)
def test_refused_settings(wrong, message):
    with pytest.raises(InputError, match=message):
        Setwise(**wrong)


def test_no_passage_of_a_set_may_be_relevant():
    """Pairs of a heap of three: the second against the third, the first against the second, ..."""
    strategy = Setwise(answer="written", others=1, top_m=1, allow_none=True)
    ranking = Reranker(strategy, Scripted(["none", "none"])).rank("q", ["a", "b", "c"])
    assert ranking.order == (0, 1, 2)
    assert ranking.report.irrelevant == {0, 1, 2}
    assert not ranking.report.malformed
    ranking = Reranker(strategy, Scripted(["none", "B", "A"])).rank("q", ["a", "b", "c"])
    assert ranking.order == (1, 0, 2)
    assert ranking.report.irrelevant == {2}  # the last pair's answer names the first passage
    plain = Setwise(answer="written", others=1, top_m=1)
    assert Reranker(plain, Scripted(["none"])).rank("q", ["a", "b"]).report.malformed == 1
