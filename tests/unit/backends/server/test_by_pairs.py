"""Pairs, scored by a server."""

import asyncio

import pytest
from openai_server import Answering, Scoring
from server_rankings import of

from rerank_plugins import CallError, ModelOutputError, Reranker, UnsupportedCallError
from rerank_plugins.calls import ScorePair
from rerank_plugins.strategies import PairScore


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


LONG = {
    "tei": (413, {"error": "`inputs` must have less than 512 tokens. Given: 604"}),
    "vllm": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 512 tokens. However, you "
                "requested 604 tokens in the input for score. Please reduce the length."
            }
        },
    ),
    "llamacpp": (
        500,
        {
            "error": {
                "code": 500,
                "message": "input (604 tokens) is too large to process. increase the physical "
                "batch size (current batch size: 512)",
            }
        },
    ),
}
PATHS = {"tei": "/rerank", "vllm": "/score", "llamacpp": "/v1/rerank"}


def scoring(shape, refuses):
    """Scores by length; ``refuses`` gives the answer to a passage that it does not take."""

    def answer(path, body):
        if path != PATHS[shape]:
            return 404, {}
        texts = body.get("text_2") or body.get("texts") or body["documents"]
        for text in texts:
            if refused := refuses(text, body):
                return refused
        rows = [{"index": i, "score": 1 / (2 + len(x))} for i, x in enumerate(texts)]
        return 200, rows if shape == "tei" else {"results": rows}

    return answer


PASSAGES = ["word " * 600, "a", "bb", "ccc"]


@pytest.mark.parametrize("shape", LONG)
def test_a_passage_that_is_too_long_is_cut_and_the_ranking_says_so(served, shape):
    server = served(
        Answering(scoring(shape, lambda text, body: len(text.split()) > 500 and LONG[shape]))
    )
    ranking = Reranker(PairScore(), of(server)).rank("q", PASSAGES)
    assert ranking.order == (1, 2, 3, 0)
    assert ranking.report.truncated == {0}
    assert len(server.asked) < 20


def test_a_query_that_is_too_long_cannot_be_cut(served):
    server = served(
        Answering(scoring("tei", lambda text, body: body["query"] == "q" and LONG["tei"]))
    )
    [reply] = of(server).run([ScorePair("q", "a" * 10_000)])
    assert "too long" in str(reply)
    assert len(server.asked) < 15


@pytest.mark.parametrize(
    ("shape", "option"),
    [("tei", {"truncate": True}), ("vllm", {"truncate_prompt_tokens": -1})],
)
def test_options_for_truncation_are_sent_where_they_exist(served, shape, option):
    both = {"truncate": True, "truncate_prompt_tokens": -1, "temperature": 0.3}

    def refuses(text, body):
        return len(text.split()) > 500 and not option.items() <= body.items() and LONG[shape]

    server = served(Answering(scoring(shape, refuses)))
    ranking = Reranker(PairScore(), of(server, extra_body=both)).rank("q", PASSAGES)
    assert ranking.order == (1, 2, 3, 0)
    assert not ranking.report.truncated
    sent = server.asked[-1]
    assert {k: sent[k] for k in both if k in sent} == option


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("bad", [{0}, {5, 6}, {0, 39}])
def test_bad_pairs_cost_themselves(served, status, bad):
    def refuses(text, body):
        return "!" in text and (status, {"error": "cannot tokenize"})

    server = served(Answering(scoring("llamacpp", refuses)))
    calls = [ScorePair("q", f"p{i}" + "!" * (i in bad)) for i in range(40)]
    replies = of(server, attempts=1).run(calls)
    assert {i for i, r in enumerate(replies) if isinstance(r, CallError)} == bad


def test_a_server_that_is_down_is_not_asked_for_each_pair(served):
    server = served(Answering(scoring("tei", lambda text, body: None)))
    backend = of(server, attempts=1)
    backend.run([ScorePair("q", "a")])
    server.function = lambda path, body: (503, {"error": "down"})
    before = len(server.asked)
    replies = backend.run([ScorePair("q", f"p{i}") for i in range(32)])
    assert all(isinstance(r, CallError) for r in replies)
    assert len(server.asked) == before + 2  # the batch, and whether the server is up


def test_tokens_of_scores_that_cannot_be_used_are_counted(served):
    def answer(path, body):
        if path != "/v1/rerank":
            return 404, {}
        score = 0.5 if len(body["documents"]) != 3 else 7.0
        rows = [{"index": i, "score": score} for i in range(len(body["documents"]))]
        return 200, {"results": rows, "usage": {"total_tokens": 31}}

    replies = of(served(Answering(answer))).run([ScorePair("q", p) for p in "abc"])
    assert all(isinstance(r, ModelOutputError) for r in replies)
    assert sum(r.prompt_tokens for r in replies) == 31
