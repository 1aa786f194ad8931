"""Scores of single passages from a model that scores pairs of query and passage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..calls import Plan, Reply, ScorePair
from ..errors import CallError, ConfigurationError, ModelOutputError
from ..plans import ask_replies
from ..prompts import PassageForm
from ..ranking import Ranking, Report
from ._attempt import Attempt, Scored, rank_scored


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScore:
    """Score a passage by a cross-encoder, by late interaction, or by another model of pairs.

    One call per passage, all of them in one batch. Scores are what the backend says that they are,
    comparable across passages and queries: a classifier's raw logits (``score_kind="logit"``), or
    similarities of vectors (``"similarity"``).

    Args:
        titled: The form of a passage that has a title, with the fields ``{title}`` and
            ``{passage}``; without it, titles are left out.

    References:
        Nogueira and Cho, Passage Re-ranking with BERT, arXiv:1901.04085, 2019; Abdallah et al.,
        DeAR, arXiv:2508.16998, 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> Reranker(PairScore(), overlap).rank("flea", ["a dog", "a flea"]).scores
        (1.0, 0.0)
    """

    titled: str = "{title} {passage}"

    def __post_init__(self) -> None:
        PassageForm(titled=self.titled).check()

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call per passage, all in one batch. One passage gets its score too."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the ranking of the passages that have scores."""
        form = PassageForm(titled=self.titled)
        replies = yield from ask_replies([ScorePair(query, form.cut(p)[0]) for p in passages])
        scored = list[Scored | CallError]()
        for reply in replies:
            if isinstance(reply, CallError):
                scored.append(reply)
            elif math.isfinite(reply.answer):
                cut = frozenset({0} if reply.truncated else ())
                scored.append(Scored(float(reply.answer), Report(truncated=cut)))
            else:
                message = f"the model's score is {reply.answer}, not a finite number"
                scored.append(ModelOutputError(message))
        kinds = {reply.score_kind for reply in replies if isinstance(reply, Reply)}
        if len(kinds) > 1:
            raise ConfigurationError(
                "some of the scores are logits and others similarities",
                hint="Use backends that run the same model.",
            )
        return rank_scored(scored, kinds.pop() if kinds else "logit")
