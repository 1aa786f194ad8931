"""Calls as token ids."""

import pytest
from openai_server import Echoing, OpenAIServer, SGLang
from server_rankings import of, passages

from rerank_plugins import LabelError, PromptTooLongError, Reranker, UnsupportedCallError
from rerank_plugins.calls import Message, NextToken, Prompt
from rerank_plugins.strategies import QueryLikelihood, SingleToken


def test_more_labels_than_one_request_may_ask_for(served, tokenizer):
    server = served(OpenAIServer(cap=1, tokenizer=tokenizer, exact=True))
    backend = of(server, tokenizer=tokenizer)
    texts = passages(150)
    ranking = Reranker(SingleToken(prompt="full-list-tokens.v1"), backend).rank("q", texts)
    assert [len(body["logprob_token_ids"]) for body in server.asked[-2:]] == [128, 22]
    assert ranking.report.unseen_labels == 0
    assert ranking.usage.calls == 1
    letters = range(26)  # the others are none of the server's passages
    assert ranking.order[:26] == tuple(sorted(letters, key=lambda i: -len(texts[i])))


def test_labels_that_are_not_single_tokens(served, tokenizer):
    server = served(OpenAIServer(tokenizer=tokenizer))
    prompt = Prompt((Message("user", ("a or b?",)),))
    call = NextToken(prompt, ("supercalifragilistic", "B"))
    with pytest.raises(LabelError, match="single token"):
        of(server, tokenizer=tokenizer).run([call])


def test_a_context_that_is_too_short(served, tokenizer):
    server = served(OpenAIServer("short_context"))
    with pytest.raises(PromptTooLongError):
        Reranker(SingleToken(), of(server)).rank("q " * 200, ["a", "b"])
    server = served(OpenAIServer(tokenizer=tokenizer))
    backend = of(server, tokenizer=tokenizer, context_tokens=100)
    backend.warm_up()
    before = len(server.asked)
    with pytest.raises(PromptTooLongError) as error:
        Reranker(SingleToken(), backend).rank("q " * 200, ["a", "b"])
    assert error.value.limit == 100
    assert len(server.asked) == before  # it was not even sent


def test_likelihoods_by_echo(served, tokenizer):
    backend = of(served(Echoing(tokenizer=tokenizer)), tokenizer=tokenizer)
    ranking = Reranker(QueryLikelihood(), backend).rank("what do fleas eat", ["x", "y " * 30])
    assert ranking.order == (0, 1)  # a longer prompt has its query further down
    assert ranking.score_kind == "logprob"


def test_likelihoods_need_a_tokenizer_and_an_echo(served, tokenizer):
    server = served(OpenAIServer(tokenizer=tokenizer))
    with pytest.raises(UnsupportedCallError, match="tokenizer"):
        Reranker(QueryLikelihood(), of(server)).rank("q", ["a", "b"])
    with pytest.raises(UnsupportedCallError, match="does not report"):
        Reranker(QueryLikelihood(), of(server, tokenizer=tokenizer)).rank("q", ["a", "b"])


def test_sglang_reports_the_tokens_it_is_asked_for(served, tokenizer):
    backend = of(served(SGLang()), tokenizer=tokenizer)
    ranking = Reranker(SingleToken(), backend).rank("q", passages(20))
    ids = [tokenizer.convert_tokens_to_ids(chr(ord("A") + i)) for i in range(20)]
    assert ranking.order == tuple(sorted(range(20), key=lambda i: ids[i]))
    assert ranking.report.unseen_labels == 0
