"""FIRST: the order of a window from the log-probabilities of one token."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from .._checks import one_of
from ..calls import LabelLogprobs, NextToken, Plan
from ..errors import CallError, LogprobsError
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, by_score, input_order
from ._attempt import Attempt
from ._fit import ask_window
from ._labels import ONE_TOKEN, check_identifiers, label_scores
from ._permutation import Permutation

Policy = Literal["keep_order", "ask_again", "generate"]
"""The way to order passages whose identifiers the server did not report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleToken:
    """Order one window by the log-probabilities of its identifiers (FIRST).

    The prompt ends where the answer's first identifier would stand. One forward pass gives the
    log-probability of every identifier there, and their order is the ranking: no text is
    generated. Scores are those log-probabilities in nats (``score_kind="logprob"``); they can be
    compared within one window only, so wrap the strategy in `SlidingWindow` for longer lists.

    Servers that report only the likeliest few tokens (20, or 5) leave identifiers out. The reported
    ones are in their exact order and before all others, whose log-probability is at most the lowest
    reported one: that is their score, and ``report.unseen_labels`` counts them. ``policy`` says how
    the others are ordered.

    Args:
        prompt: A listwise prompt or its versioned name. ``first.v1`` for
            rryisthebest/First_Model and for models without such training,
            ``rankllm-letters.v1`` for castorini/first_mistral, ``full-list-tokens.v1`` for more
            passages than there are letters.
        policy: ``"keep_order"``: unreported passages follow in their input order.
            ``"ask_again"``: the model is asked about them alone, until every passage has its
            place. ``"generate"``: the model writes their order, as `Permutation` asks for it, and
            the order of the whole window if the server reports no log-probabilities at all, which
            is an error under the other policies.

    Raises:
        InputError: There are more passages than identifiers (26 letters, or 9 numbers that are one
            token), or the policy is unknown or cannot be used with the prompt.
        LogprobsError: When ranking, the server reports no log-probabilities.

    References:
        Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
        arXiv:2406.15657, 2024.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> prefers_short = Oracle(key=lambda query, passage: -len(passage))
        >>> Reranker(SingleToken(), prefers_short).rank("q", ["long one", "short"]).order
        (1, 0)
    """

    prompt: str | ListwisePrompt = "first.v1"
    policy: Policy = "keep_order"

    def __post_init__(self) -> None:
        require(self.prompt, ListwisePrompt)
        one_of("policy", self.policy, get_args(Policy))
        if self.policy == "generate":
            Permutation(prompt=self.prompt)  # refuses prompts whose orders cannot be written

    @property
    def max_passages(self) -> int | None:
        """The number of identifiers that are one token; None where it depends on the model."""
        return ONE_TOKEN[require(self.prompt, ListwisePrompt).alphabet]

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call for two or more passages, none for fewer; more under ``policy``."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if asking again fails, keep the order of the reported passages."""
        template = require(self.prompt, ListwisePrompt)
        if len(passages) < 2:
            return Attempt(input_order(len(passages)))
        check_identifiers(template, len(passages))
        names = template.names(len(passages))
        try:
            found = yield from ask_window(
                template, query, passages, lambda prompt: NextToken(prompt, names)
            )
            logprobs = label_scores(found.answer, names)
        except LogprobsError:
            if self.policy != "generate":
                raise
            return Attempt((yield from self._written(query, passages)))
        ranking = reported_first(found.answer, names, logprobs, found.cut)
        unseen = [i for i in ranking.order if names[i] not in found.answer.seen]
        if self.policy == "keep_order" or len(unseen) < 2:
            return Attempt(ranking)
        again = self.rank if self.policy == "ask_again" else self._written
        try:
            tail = yield from again(query, [passages[i] for i in unseen])
        except LogprobsError as error:  # nothing more is reported: keep the order that is known
            fallback = Report(fallbacks=(str(error),))
            return Attempt(replace(ranking, report=ranking.report + fallback))
        except CallError as error:
            return Attempt(ranking, error)
        order = (*ranking.order[: -len(unseen)], *(unseen[i] for i in tail.order))
        report = ranking.report + tail.report.mapped(unseen)
        return Attempt(replace(ranking, order=order, report=report))

    def _written(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        ranking = yield from Permutation(prompt=self.prompt).rank(query, passages)
        return replace(ranking, report=ranking.report + Report(written_orders=1))


def reported_first(
    answer: LabelLogprobs, names: Sequence[str], logprobs: Sequence[float], cut: frozenset[int]
) -> Ranking:
    """Rank by log-probability, with every reported label before all unreported ones.

    An unreported label is at most as likely as the floor, so it cannot come before a reported
    one, even if their values are the same.
    """
    unseen = [name not in answer.seen for name in names]
    if not any(unseen):
        return by_score(logprobs, "logprob", report=Report(truncated=cut))
    order = sorted(range(len(names)), key=lambda i: (unseen[i], -logprobs[i]))
    # Scores must not rise, even if a server's floor is above a value that it reported.
    lowest = min((logprobs[i] for i in order if not unseen[i]), default=0.0)
    scores = tuple(min(logprobs[i], lowest) if unseen[i] else logprobs[i] for i in order)
    report = Report(unseen_labels=sum(unseen), truncated=cut)
    return Ranking(tuple(order), scores, "logprob", report=report)
