"""A real llama.cpp server behind `OpenAIBackend`, and the same model in this process."""

import asyncio

import pytest

from rerank_plugins import ConfigurationError, Reranker, UnsupportedCallError
from rerank_plugins.backends import OpenAIBackend
from rerank_plugins.calls import Generate, NextToken
from rerank_plugins.strategies import Permutation, QueryLikelihood, SingleToken
from rerank_plugins.testing import BackendContract

# A prompt that is partly in the server's cache goes through other matrix kernels than a whole
# one, and with weights of four bits that moves a log-probability by some hundredths.
SAME_WAY = {"cache_prompt": False}

QUERY = "what do fleas eat"
PASSAGES = ["Paris is in France.", "Fleas feed on blood.", "Cats sleep all day.", "Dogs bark."]


@pytest.fixture
def by_ids(llama_cpp, tokenizer):
    return OpenAIBackend("smollm2", base_url=llama_cpp, tokenizer=tokenizer, extra_body=SAME_WAY)


@pytest.fixture
def by_messages(llama_cpp):
    return OpenAIBackend("smollm2", base_url=llama_cpp, extra_body=SAME_WAY)


class TestByIds(BackendContract):
    kinds = frozenset({NextToken, Generate})

    @pytest.fixture
    def backend(self, by_ids):
        return by_ids


class TestByMessages(BackendContract):
    kinds = frozenset({NextToken, Generate})

    @pytest.fixture
    def backend(self, by_messages):
        return by_messages


def test_the_same_log_probabilities_as_in_this_process(by_ids, by_messages, smollm2):
    """Up to the arithmetic: float32 here, activations rounded to eight bits there."""
    expected = Reranker(SingleToken(), smollm2).rank(QUERY, PASSAGES)
    for backend in (by_ids, by_messages):
        ranking = Reranker(SingleToken(), backend).rank(QUERY, PASSAGES)
        assert ranking.report.unseen_labels == 0
        there = dict(zip(ranking.order, ranking.scores, strict=True))
        for i, score in zip(expected.order, expected.scores, strict=True):
            assert there[i] == pytest.approx(score, abs=0.25)


def test_ids_and_messages_are_the_same_prompt(by_ids, by_messages):
    a, b = (Reranker(SingleToken(), x).rank(QUERY, PASSAGES) for x in (by_ids, by_messages))
    assert a.order == b.order
    assert a.scores == pytest.approx(b.scores, abs=1e-3)
    assert a.usage.prompt_tokens == b.usage.prompt_tokens


def test_it_writes_and_answers_on_a_loop(by_ids):
    ranker = Reranker(Permutation(prompt="first.v1"), by_ids)

    async def several():
        return await asyncio.gather(*(ranker.arank(QUERY, PASSAGES) for _ in range(3)))

    rankings = asyncio.run(several())
    assert {r.order for r in rankings} == {ranker.rank(QUERY, PASSAGES).order}
    assert rankings[0].usage.generated_tokens > 0


def test_what_it_does_not_have_is_said(llama_cpp, by_ids):
    with pytest.raises(UnsupportedCallError, match="echo"):
        Reranker(QueryLikelihood(), by_ids).rank(QUERY, PASSAGES)
    with pytest.raises(ConfigurationError, match="It has 'smollm2'"):
        Reranker(SingleToken(), OpenAIBackend("gpt-x", base_url=llama_cpp)).rank(QUERY, PASSAGES)
