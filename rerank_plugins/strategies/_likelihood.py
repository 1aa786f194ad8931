"""Query likelihood: the passage that makes the query likely is relevant to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..calls import ContinuationLogprob, Likelihood, Plan, Prompt, Untrusted
from ..errors import ModelOutputError
from ..plans import gather, settle
from ..prompts import LikelihoodPrompt, require
from ..ranking import Ranking, Report, input_order
from ._attempt import Attempt
from ._fit import Render, ask_fitted
from ._scored import Scored, rank_scored


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLikelihood:
    """Score a passage by the mean log-probability of the query's tokens after it.

    Needs no training as a reranker and generates nothing: one forward pass a passage, all of
    them independent. Scores are nats a token (``score_kind="logprob"``, at most 0), comparable
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
        """Plan one call a passage, all in one batch. One passage gets its score too."""
        return (yield from self.attempt(query, passages)).result()

    def attempt(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """`rank`, or where a call failed the ranking of the passages that have scores."""
        if not passages:
            return Attempt(input_order(0))
        template = require(self.prompt, LikelihoodPrompt)
        plans = [settle(_scored(template, query, passage)) for passage in passages]
        return rank_scored((yield from gather(plans)), "logprob")


def _scored(template: LikelihoodPrompt, query: str, passage: str) -> Plan[Scored]:
    continuation = Untrusted(template.separator + query.strip(), "query")
    found = yield from ask_fitted(
        _render(template, passage),
        lambda prompt: Likelihood(prompt, continuation),
        [passage],
        template.most_words,
    )
    return Scored(mean_logprob(found.answer), Report(truncated=found.cut))


def _render(template: LikelihoodPrompt, passage: str) -> Render:
    def render(words: int | None) -> tuple[Prompt, frozenset[int]]:
        prompt, cut = template.render(passage, words)
        return prompt, frozenset({0} if cut else ())

    return render


def mean_logprob(answer: ContinuationLogprob) -> float:
    """Nats a token.

    Raises:
        ModelOutputError: The continuation has no tokens, or the value is not a finite number.
    """
    mean = answer.logprob / answer.tokens if answer.tokens else math.nan
    if not math.isfinite(mean):
        raise ModelOutputError(
            "the model's log-probability of the query is not a finite number",
            hint="Try dtype='float32'.",
        )
    return mean
