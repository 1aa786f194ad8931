"""Pairs, scored by a server."""

import asyncio

import pytest
from openai_server import Scoring
from server_rankings import of

from rerank_plugins import CallError, ModelOutputError, UnsupportedCallError
from rerank_plugins.calls import ScorePair


@pytest.mark.parametrize("shape", ["vllm", "tei", "jina"])
def test_pairs_are_logits_in_every_shape(served, shape):
    server = served(Scoring(shape))
    calls = [ScorePair(query, "p" * n) for query in ("a", "b") for n in range(1, 40)]
    replies = of(server).run(calls)
    for call, reply in zip(calls, replies, strict=True):
        assert reply.answer == pytest.approx(len(call.passage) / 10 - 1, abs=1e-9)
    assert asyncio.run(of(server).arun(calls)) == replies


def test_one_bad_pair_does_not_cost_the_others(served):
    server = served(Scoring("vllm", refuses="bad"))
    replies = of(server).run([ScorePair("q", p) for p in ("aaa", "bad", "cccc")])
    assert [isinstance(r, CallError) for r in replies] == [False, True, False]
    assert "this text is bad" in str(replies[1])


def test_scores_that_are_no_probabilities(served):
    server = served(Scoring("jina"))
    server.send, send = (
        lambda handler, status, found: send(
            handler,
            status,
            {"results": [{"index": 0, "relevance_score": 3.5}, {"index": 1, "relevance_score": -1}]}
            if status == 200
            else found,
        ),
        server.send,
    )
    calls = [ScorePair("q", "a"), ScorePair("q", "b")]
    replies = of(server).run(calls)
    assert all(isinstance(r, ModelOutputError) for r in replies)
    assert [r.answer for r in of(server, pair_unit="logit").run(calls)] == [3.5, -1]


def test_a_server_that_scores_no_pairs(served):
    server = served(Scoring("vllm"))
    server.shape = "jina"
    server.send, send = lambda handler, *_: send(handler, 404, {}), server.send
    with pytest.raises(UnsupportedCallError, match="scores no pairs"):
        of(server).run([ScorePair("q", "a")])
