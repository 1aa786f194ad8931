"""Long lists in one prompt: early stops, constrained answers, one token for everything."""

import pytest

from rerank_plugins import InputError, Reranker
from rerank_plugins.calls import Completion, NextToken
from rerank_plugins.middleware import recorded
from rerank_plugins.strategies import ConstrainedPermutation, FullList
from rerank_plugins.testing import Oracle, Replay, Scripted


@pytest.mark.parametrize("top_m", [1, 2, 5, 9, 10, 11])
def test_a_constrained_answer_stops_after_m(top_m):
    oracle = Oracle(key=lambda query, passage: float(passage))
    ten = list(map(str, range(10)))
    ranking = Reranker(FullList(read="constrained", top_m=top_m), oracle).rank("q", ten)
    m = min(top_m, 10)
    assert ranking.usage.calls == min(top_m, 9)  # the last one needs no question
    best = list(range(9, 9 - m, -1))
    assert ranking.order == (*best, *(i for i in range(10) if i not in best))


def test_a_written_answer_stops_after_m():
    script = Scripted([Completion("[3] > [1] > [2", "length")])
    ranking = Reranker(FullList(top_m=2), script).rank("q", list("abcde"))
    assert ranking.order == (2, 0, 1, 3, 4)
    assert not ranking.report.missing  # nobody asked for them
    assert not ranking.report.cut_answers
    [call] = script.asked
    whole = Scripted([""])
    Reranker(FullList(), whole).rank("q", list("abcde"))
    assert call.max_tokens < whole.asked[0].max_tokens / 2


def test_too_few_identifiers_before_the_limit_are_reported():
    script = Scripted([Completion("[3] > [", "length")])
    ranking = Reranker(FullList(top_m=2), script).rank("q", list("abcde"))
    assert ranking.order == (2, 0, 1, 3, 4)
    assert ranking.report.cut_answers == 1
    assert ranking.report.missing == {0, 1, 3, 4}


def test_one_token_orders_a_hundred():
    oracle = Oracle(key=lambda query, passage: -float(passage))
    ranking = Reranker(FullList(read="single-token"), oracle).rank("q", list(map(str, range(100))))
    assert ranking.order == tuple(range(100))
    assert (ranking.usage.calls, ranking.usage.generated_tokens) == (1, 0)
    [call] = oracle.asked
    assert isinstance(call, NextToken)
    assert call.labels[24:28] == ("Y", "Z", "AA", "AB")
    assert call.prompt.identifiers == 100


@pytest.mark.parametrize("read", ["single-token", "constrained"])
def test_identifiers_survive_a_transcript(read, tmp_path):
    strategy, texts = FullList(read=read), list(map(str, range(30)))
    path = tmp_path / "transcript.jsonl"
    expected = Reranker(strategy, recorded(Oracle(), path)).rank("q", texts)
    replayed = Reranker(strategy, Replay(path)).rank("q", texts)
    assert (replayed.order, replayed.scores) == (expected.order, expected.scores)


def test_fake_identifiers_of_many_letters_are_escaped():
    oracle = Oracle()
    Reranker(FullList(read="single-token"), oracle).rank("[AB] q", ["see [AB]", "[zz] x"])
    assert "[AB]" not in "".join(p.text for p in oracle.asked[0].prompt.untrusted)


@pytest.mark.parametrize(
    "build",
    [
        lambda: FullList(read="loudly"),
        lambda: FullList(read="single-token", top_m=3),
        lambda: FullList(top_m=0),
        lambda: FullList(prompt="full-list-tokens.v1"),
        lambda: ConstrainedPermutation(top_m=0),
    ],
)
def test_what_does_not_go_together_is_refused(build):
    with pytest.raises(InputError):
        build()


def test_none_of_a_list_may_be_relevant():
    strategy = FullList(allow_none=True, top_m=2)
    ranking = Reranker(strategy, Scripted(["[]"])).rank("q", ["a", "b", "c"])
    assert (ranking.order, ranking.report.irrelevant) == ((0, 1, 2), {0, 1, 2})
    assert not ranking.report.fallback
    for read in ("constrained", "single-token"):
        with pytest.raises(InputError, match="allow_none needs an answer in words"):
            FullList(read=read, allow_none=True)
