"""Scores of single passages from one of two words, such as yes and no, or from one word."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from .._checks import at_least
from ..calls import Completion, Generate, NextToken, Plan, Prompt, text_of
from ..errors import InputError
from ..plans import ask
from ..prompts import PointwisePrompt, require
from ..ranking import Ranking, Report
from ._attempt import Attempt, Scored, rank_each
from ._fit import ask_fitted
from ._instructed import check_instruction
from ._labels import label_scores, raw_logit, unseen_labels

REASONED = "</think>"
"""The text that ends a reasoning."""
REASONING_TOKENS = 8192
"""Tokens of a reasoning before a label at most, as Rank1's authors allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise:
    """Score a passage by the log-odds of "yes" against "no", or of any two such words.

    One forward pass per passage, nothing generated, all of them in one batch. Scores are
    ``log P(yes) - log P(no)`` (``score_kind="logit"``), comparable across passages and queries;
    ``1 / (1 + exp(-score))`` is the probability that the models' authors publish, which saturates,
    while these scores do not.

    The prompt says what the score is made of. With one word instead of two it is the raw logit of
    that word, which not every backend knows. With ``reasoning`` the model first writes a reasoning,
    and the words are those that follow it. One that ``max_tokens`` cuts ends after its last whole
    sentence, and `Report.cut_answers` counts it.

    Args:
        prompt: A pointwise prompt with labels, or its versioned name: ``qwen3-reranker.v1``,
            ``mxbai-rerank-v2.v1``, ``monot5.v1``; ``zerank.v1``, ``ctxl-rerank-v2.v1`` and
            ``bge-reranker-gemma.v1`` with one label; ``rank1.v1`` with reasoning; and
            ``yes-no.v1`` for models that were not trained to rerank.
        instruction: The meaning of relevance, instead of the prompt's own words.
        max_tokens: The longest reasoning, where the prompt asks for one.

    Raises:
        InputError: The prompt asks for a grade, ``max_tokens`` is not positive, or there is an
            instruction and the prompt has no place for one.
        UnsupportedCallError: When ranking: the backend does not know the raw logit of one word.

    References:
        Nogueira et al., Document Ranking with a Pretrained Sequence-to-Sequence Model,
        arXiv:2003.06713, 2020; Zhang et al., Qwen3 Embedding, arXiv:2506.05176, 2025; Weller et
        al., Rank1, arXiv:2502.18418, 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> Reranker(Pointwise(), overlap).rank("flea", ["a dog", "a flea"]).order
        (1, 0)
    """

    prompt: str | PointwisePrompt = "qwen3-reranker.v1"
    instruction: str | None = None
    max_tokens: int = REASONING_TOKENS

    def __post_init__(self) -> None:
        at_least(1, max_tokens=self.max_tokens)
        if not require(self.prompt, PointwisePrompt).labels:
            raise InputError(
                f"{self.prompt!r} asks for a grade and not for one of two words",
                hint="Use PointwiseGrade with it.",
            )
        check_instruction(self.prompt, self.instruction)

    def with_instruction(self, instruction: str) -> "Pointwise":
        """A copy with an instruction; the strategy itself if its prompt has no place for one."""
        takes = require(self.prompt, PointwisePrompt).takes_instruction
        return replace(self, instruction=instruction) if takes else self

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call per passage, all in one batch. One passage gets its score too."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the ranking of the passages that have scores."""
        template = require(self.prompt, PointwisePrompt)
        score = partial(self._scored, template, query)
        return (yield from rank_each(score, passages, "logit"))

    def _scored(self, template: PointwisePrompt, query: str, passage: str) -> Plan[Scored]:
        render = partial(template.render, query, passage, instruction=self.instruction)
        names, words = template.labels, template.most_words
        if template.reasoning:
            written = yield from ask_fitted(
                render,
                lambda prompt: Generate(prompt, self.max_tokens, stop=(REASONED,)),
                [passage],
                words,
            )
            prompt = _reasoned(written.prompt, written.answer)
            [answer] = yield from ask([NextToken(prompt, names)])
            cut = int(written.answer.finish_reason == "length")
            report = Report(truncated=written.cut, cut_answers=cut)
        else:
            found = yield from ask_fitted(
                render, lambda prompt: NextToken(prompt, names), [passage], words
            )
            answer, report = found.answer, Report(truncated=found.cut)
        if len(names) == 1:
            return Scored(raw_logit(answer, names[0]), report)
        yes, no = label_scores(answer, names)
        return Scored(yes - no, report + Report(unseen_labels=unseen_labels(answer, names)))


def _reasoned(prompt: Prompt, answer: Completion) -> Prompt:
    """The prompt, continued by a reasoning and its end."""
    text = answer.text.partition(REASONED)[0]
    if answer.finish_reason == "length":  # as Rank1's authors do
        whole = max(text.rfind(mark) for mark in ".!?") + 1
        text = "\n" + (text[:whole] or text).strip() + "\n"
    return replace(prompt, prefill=text_of(prompt.prefill) + text + REASONED)
