"""Scores of single passages from one of two words, such as yes and no."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..calls import NextToken, Plan
from ..errors import InputError
from ..prompts import PointwisePrompt, require
from ..ranking import Ranking, Report
from ._attempt import Attempt, Scored, rank_each
from ._fit import ask_fitted
from ._labels import label_scores, unseen_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise:
    """Score a passage by the log-odds of "yes" against "no", or of any two such words.

    One forward pass per passage, nothing generated, all of them in one batch. Scores are
    ``log P(yes) - log P(no)`` (``score_kind="logit"``), comparable across passages and queries;
    ``1 / (1 + exp(-score))`` is the probability that the models' authors publish, which saturates,
    while these scores do not.

    Args:
        prompt: A pointwise prompt with two labels, or its versioned name: ``qwen3-reranker.v1``,
            ``monot5.v1``, and ``yes-no.v1`` for models that were not trained to rerank.
        instruction: The meaning of relevance, instead of the prompt's own words.

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
        """Plan one call per passage, all in one batch. One passage gets its score too."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the ranking of the passages that have scores."""
        template = require(self.prompt, PointwisePrompt)

        def score(passage: str) -> Plan[Scored]:
            found = yield from ask_fitted(
                partial(template.render, query, passage, instruction=self.instruction),
                lambda prompt: NextToken(prompt, template.labels),
                [passage],
                template.most_words,
            )
            yes, no = label_scores(found.answer, template.labels)
            unseen = unseen_labels(found.answer, template.labels)
            return Scored(yes - no, Report(truncated=found.cut, unseen_labels=unseen))

        return (yield from rank_each(score, passages, "logit"))
