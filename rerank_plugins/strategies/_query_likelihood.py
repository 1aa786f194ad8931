"""Query likelihood: a passage is relevant if it makes the query likely."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..calls import Likelihood, Plan, Untrusted
from ..errors import ModelOutputError
from ..prompts import LikelihoodPrompt, require
from ..ranking import Ranking, Report
from ._attempt import Attempt, Scored, rank_each
from ._fit import ask_fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLikelihood:
    """Score a passage by the mean log-probability of the query's tokens after it.

    Needs no training as a reranker and generates nothing: one forward pass per passage, all of
    them independent. Scores are nats per token (``score_kind="logprob"``, at most 0), comparable
    across passages of one query, and the same whatever else is in the list.

    Args:
        prompt: A likelihood prompt or its versioned name.

    References:
        Sachan et al., Improving Passage Retrieval with Zero-Shot Question Generation,
        arXiv:2204.07496, 2022.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> Reranker(QueryLikelihood(), overlap).rank("flea", ["a dog", "a flea"]).order
        (1, 0)
    """

    prompt: str | LikelihoodPrompt = "query-likelihood.v1"

    def __post_init__(self) -> None:
        require(self.prompt, LikelihoodPrompt)

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call per passage, all in one batch. One passage gets its score too."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the ranking of the passages that have scores."""
        template = require(self.prompt, LikelihoodPrompt)
        continuation = Untrusted(template.separator + query.strip(), "query")

        def score(passage: str) -> Plan[Scored]:
            found = yield from ask_fitted(
                partial(template.render, passage),
                lambda prompt: Likelihood(prompt, continuation),
                [passage],
                template.most_words,
            )
            logprob, tokens = found.answer.logprob, found.answer.tokens
            mean = logprob / tokens if tokens else math.nan
            if not math.isfinite(mean):
                raise ModelOutputError(
                    "the model's log-probability of the query is not a finite number",
                    hint="Try dtype='float32'.",
                )
            return Scored(mean, Report(truncated=found.cut))

        return (yield from rank_each(score, passages, "logprob"))
