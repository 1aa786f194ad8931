"""Strategies that score each passage on its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..calls import ContinuationLogprob, Likelihood, Plan, Reply, Untrusted
from ..data import Ranking, Report, ScoreKind, by_score, input_order
from ..errors import CallError, ModelOutputError, PromptTooLongError
from ..plans import ask_replies, gather, settle
from ..prompts import LikelihoodPrompt, require
from .fitting import shorter


@dataclass(frozen=True, slots=True)
class Scored:
    """One passage's score, and whether the passage was shortened."""

    score: float
    shortened: bool = False


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
        if not passages:
            return input_order(0)
        template = require(self.prompt, LikelihoodPrompt)
        plans = [settle(_likelihood(template, query, passage)) for passage in passages]
        return rank_scored((yield from gather(plans)), "logprob")


def _likelihood(template: LikelihoodPrompt, query: str, passage: str) -> Plan[Scored]:
    """Ask about one passage, with fewer words of it each time the prompt does not fit."""
    continuation = Untrusted(template.separator + query.strip(), "query")
    limit = template.max_passage_words
    while True:
        prompt, shortened = template.render(passage, limit)
        [reply] = yield from ask_replies([Likelihood(prompt, continuation)])
        if isinstance(reply, Reply):
            return Scored(mean_logprob(reply.answer), shortened)
        if not isinstance(reply, PromptTooLongError):
            raise reply
        limit = shorter(limit, reply, [passage])


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


def rank_scored(answers: Sequence[Scored | CallError], kind: ScoreKind) -> Ranking:
    """Rank by score, where every passage has one.

    Raises:
        CallError: The first failure. Its ``partial`` is the best order there is without the
            missing scores: the passages that failed keep their places, the others are sorted
            around them.
    """
    scored = {i: a for i, a in enumerate(answers) if isinstance(a, Scored)}
    errors = [a for a in answers if isinstance(a, CallError)]
    report = Report(truncated=frozenset(i for i, a in scored.items() if a.shortened))
    if not errors:
        return by_score([a.score for a in scored.values()], kind, report=report)
    best_first = iter(sorted(scored, key=lambda i: -scored[i].score))
    order = tuple(next(best_first) if i in scored else i for i in range(len(answers)))
    errors[0].partial = Ranking(order, report=report)
    raise errors[0]
