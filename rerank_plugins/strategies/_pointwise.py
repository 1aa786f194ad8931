"""Strategies that score each passage on its own, by a word or by a classifier."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..calls import NextToken, Plan, Prompt, Reply, ScorePair
from ..errors import CallError, InputError, ModelOutputError
from ..plans import ask_replies, gather, settle
from ..prompts import PointwisePrompt, require
from ..prompts._templates import Limits
from ..ranking import Ranking, Report, input_order
from ._attempt import Attempt
from ._fit import Render, ask_fitted
from ._listwise import label_scores
from ._scored import Scored, rank_scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise:
    """Score a passage by the log-odds of "yes" against "no", or of any two such words.

    One forward pass a passage, nothing generated, all of them in one batch. Scores are
    ``log P(yes) - log P(no)`` (``score_kind="logit"``), comparable across passages and queries;
    ``1 / (1 + exp(-score))`` is the probability that the models' authors publish, and unlike it
    they do not saturate.

    Args:
        prompt: A pointwise prompt with two labels, or its versioned name: ``qwen3-reranker.v1``,
            ``monot5.v1``, and ``yes-no.v1`` for models that were not trained to rerank.
        instruction: What relevance means here, instead of the prompt's own words.

    Raises:
        InputError: The prompt asks for a grade.

    References:
        Nogueira et al., Document Ranking with a Pretrained Sequence-to-Sequence Model,
        arXiv:2003.06713, 2020; Zhang et al., Qwen3 Embedding, arXiv:2506.05176, 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> Reranker(Pointwise(), overlap).rank("flea", ["a dog", "a flea"]).order
        (1, 0)
    """

    prompt: str | PointwisePrompt = "qwen3-reranker.v1"
    instruction: str | None = None

    def __post_init__(self) -> None:
        if not require(self.prompt, PointwisePrompt).labels:
            raise InputError(
                f"{self.prompt!r} asks for a grade and not for one of two words",
                hint="Use PointwiseGrade with it.",
            )

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call a passage, all in one batch. One passage gets its score too."""
        return (yield from self.attempt(query, passages)).result()

    def attempt(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """`rank`, or where a call failed the ranking of the passages that have scores."""
        if not passages:
            return Attempt(input_order(0))
        template = require(self.prompt, PointwisePrompt)
        plans = [settle(self._scored(template, query, passage)) for passage in passages]
        return rank_scored((yield from gather(plans)), "logit")

    def _scored(self, template: PointwisePrompt, query: str, passage: str) -> Plan[Scored]:
        found = yield from ask_fitted(
            rendering(template, query, passage, self.instruction),
            lambda prompt: NextToken(prompt, template.labels),
            [passage],
            template.most_words,
        )
        yes, no = label_scores(found.answer, template.labels)
        unseen = sum(label not in found.answer.seen for label in template.labels)
        return Scored(yes - no, Report(truncated=found.cut, unseen_labels=unseen))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScore:
    """Score a passage by a cross-encoder or another classifier of query and passage.

    One pass a passage, all of them in one batch. Scores are the model's raw logits
    (``score_kind="logit"``), comparable across passages and queries.

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
        Limits(titled=self.titled).check()

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call a passage, all in one batch. One passage gets its score too."""
        return (yield from self.attempt(query, passages)).result()

    def attempt(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """`rank`, or where a call failed the ranking of the passages that have scores."""
        if not passages:
            return Attempt(input_order(0))
        form = Limits(titled=self.titled)
        calls = [ScorePair(query, form.cut(passage)[0]) for passage in passages]
        replies = yield from ask_replies(calls)
        return rank_scored([_pair_score(reply) for reply in replies], "logit")


def _pair_score(reply: Reply[float] | CallError) -> Scored | CallError:
    if isinstance(reply, CallError):
        return reply
    if not math.isfinite(reply.answer):
        return ModelOutputError(f"the model's score is {reply.answer}, not a finite number")
    return Scored(float(reply.answer), Report(truncated=frozenset({0} if reply.truncated else ())))


def rendering(
    template: PointwisePrompt, query: str, passage: str, instruction: str | None
) -> Render:
    """The prompt of one passage, as `ask_fitted` wants it."""

    def render(words: int | None) -> tuple[Prompt, frozenset[int]]:
        prompt, cut = template.render(query, passage, instruction=instruction, max_words=words)
        return prompt, frozenset({0} if cut else ())

    return render
