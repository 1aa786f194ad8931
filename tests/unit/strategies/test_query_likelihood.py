"""Mean log-probabilities of the query after each passage."""

import math

import pytest

from rerank_plugins import ModelOutputError, Reranker
from rerank_plugins.calls import ContinuationLogprob, Likelihood, Untrusted
from rerank_plugins.strategies import QueryLikelihood
from rerank_plugins.testing import Scripted


def test_the_score_is_the_mean_over_the_tokens():
    model = Scripted([ContinuationLogprob(-6.0, 3), ContinuationLogprob(-6.0, 4)])
    ranking = Reranker(QueryLikelihood(), model).rank(" a query ", ["a", "b"])
    assert ranking.order == (1, 0)
    assert ranking.scores == (-1.5, -2.0)
    assert ranking.score_kind == "logprob"
    assert (ranking.usage.calls, ranking.usage.batches) == (2, 1)
    for call, text in zip(model.asked, "ab", strict=True):
        assert isinstance(call, Likelihood)
        assert call.continuation == Untrusted(" a query", "query")  # the separator is a space
        assert [part.text for part in call.prompt.untrusted] == [text]


@pytest.mark.parametrize(
    "answer",
    [
        ContinuationLogprob(0.0, 0),
        ContinuationLogprob(math.nan, 2),
        ContinuationLogprob(-math.inf, 2),
    ],
)
def test_a_mean_that_is_not_finite_is_a_failure(answer):
    with pytest.raises(ModelOutputError, match="not a finite number"):
        Reranker(QueryLikelihood(), Scripted([answer])).rank("q", ["a"])
