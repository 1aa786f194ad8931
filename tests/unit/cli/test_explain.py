"""``rerank-plugins explain``: the calls of a ranking, and how its passages moved."""

import pytest

from rerank_plugins import BackendError, Limits, Reranker
from rerank_plugins.cli._explain import explanation, explanation_numbers, rank_recorded
from rerank_plugins.jobs import Query
from rerank_plugins.strategies import PairScore
from rerank_plugins.testing import Failing, Oracle

REQUEST = Query("1", "flea", ("a cat", "a  flea\nlives", "a dog"), ("c", "f", "d"))


def by_length():
    return Reranker(PairScore(), Oracle(key=lambda query, passage: len(passage)))


def test_every_call_is_recorded_with_its_reply():
    ranking, exchanges = rank_recorded(by_length(), REQUEST)
    assert ranking.order == (1, 0, 2)
    assert [(call.passage, reply.answer) for call, reply in exchanges] == [
        (passage, float(len(passage))) for passage in REQUEST.passages
    ]


def test_errors_are_recorded_and_the_policy_is_the_reranker_s():
    broken = Failing(lambda: BackendError("down"))
    policy = {"on_error": "keep_order", "limits": Limits(max_calls=10)}
    ranking, exchanges = rank_recorded(Reranker(PairScore(), broken, **policy), REQUEST)
    assert ranking.order == (0, 1, 2)
    assert [str(reply) for _, reply in exchanges] == ["down"] * 3
    with pytest.raises(BackendError):
        rank_recorded(Reranker(PairScore(), broken), REQUEST)


def test_in_words():
    ranking, exchanges = rank_recorded(by_length(), REQUEST)
    text = explanation(REQUEST, ranking, exchanges, calls=1, grades={"f": 2})
    assert text.splitlines()[:13] == [
        "=== call 1 of 3",
        "--- first text",
        "flea",
        "--- second text",
        "a cat",
        "--- came back",
        "5.0",
        f"=== ranking by {ranking.score_kind}",
        "rank  was  moved    score  grade  id",
        "1       2     +1  13.0000      2   f  a flea lives",
        "2       1     -1   5.0000      -   c  a cat",
        "3       3          5.0000      -   d  a dog",
        text.splitlines()[12],
    ]
    assert text.splitlines()[12].startswith("=== 3 calls in 1 round, ")
    assert "grade" not in explanation(REQUEST, ranking, exchanges, calls=0)


def test_in_numbers():
    ranking, exchanges = rank_recorded(by_length(), REQUEST)
    found = explanation_numbers(REQUEST, ranking, exchanges)
    assert found["ranking"][0] == {"id": "f", "rank": 1, "was": 2, "score": 13.0}
    assert len(found["calls"]) == 3
    assert found["query"] == "flea"
