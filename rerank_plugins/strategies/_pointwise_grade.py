"""Scores of single passages from integer grades that a model writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from .._checks import at_least, flag
from ..calls import Completion, NextToken, Plan, Prompt, text_of
from ..errors import InputError, ModelOutputError
from ..parsing import parse_grade
from ..plans import ask
from ..prompts import PointwisePrompt, require
from ..ranking import Ranking, Report
from ._attempt import Attempt, Scored, rank_each
from ._fit import ask_fitted
from ._instructed import check_instruction
from ._labels import label_scores
from ._sampling import GREEDY, REASONING_TOKENS, Sampling

MOST_GRADES = 19
"""The highest grade whose expectation can be read: one digit, or 1 and another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointwiseGrade:
    """Score a passage by the integer grade that the model writes for it.

    The score is the grade times the probability that the model gave it, as in ERank, or with
    ``expectation`` the mean grade under the model's distribution, which tells apart passages that
    get the same grade. Both have ``score_kind="grade"``, from 0 to the prompt's highest grade. A
    passage whose answer has no valid grade is unknown, not irrelevant: it keeps its place and is
    reported.

    Args:
        prompt: A pointwise prompt with a ``top_grade``, or its versioned name: ``erank.v1``, and
            ``grades.v1`` for models that were not trained to rerank, ``umbrela.v1`` for judges.
        instruction: The meaning of relevance, instead of the prompt's own words.
        expectation: Read the distribution over all grades. Without reasoning nothing is generated
            then. Grades of two digits are read digit by digit, which is how the tokenizers of
            Qwen, Gemma and SmolLM write them; for one that has tokens of two digits (Llama 3) use a
            prompt whose grades end at 9.
        weighted: Multiply a grade by its probability. False leaves the integer that was written,
            as judgements need it, and asks for no log-probabilities.
        max_tokens: The longest answer; by default 4096 if the prompt asks for reasoning, 100 if
            other text comes before the grade, else 8.
        sampling: How the answer is decoded.

    Raises:
        InputError: The prompt asks for words, or has no place for an instruction where there is
            one; ``max_tokens`` is not positive; or ``expectation`` is set and the prompt's highest
            grade is above 19, or other text comes before it.

    References:
        Cai et al., ERank, arXiv:2509.00520, 2025; Zhuang et al., Beyond Yes and No (expected
        grades), arXiv:2310.14122, 2023.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Scripted
        >>> answers = ["<think>?</think><answer>2</answer>", "<answer>9</answer>"]
        >>> ranking = Reranker(PointwiseGrade(), Scripted(answers)).rank("q", ["a", "b"])
        >>> ranking.order, ranking.scores
        ((1, 0), (9.0, 2.0))
    """

    prompt: str | PointwisePrompt = "erank.v1"
    instruction: str | None = None
    expectation: bool = False
    weighted: bool = True
    max_tokens: int | None = None
    sampling: Sampling = GREEDY

    def __post_init__(self) -> None:
        template = require(self.prompt, PointwisePrompt)
        top = template.top_grade
        if top is None:
            raise InputError(
                f"{self.prompt!r} asks for one of two words and not for a grade",
                hint="Use Pointwise with it.",
            )
        check_instruction(self.prompt, self.instruction)
        flag(expectation=self.expectation, weighted=self.weighted)
        at_least(1, none=True, max_tokens=self.max_tokens)
        if self.expectation and top > MOST_GRADES:
            raise InputError(
                f"expectation needs a top_grade of at most {MOST_GRADES}, and the prompt's is {top}"
            )
        if self.expectation and template.before_grade:
            raise InputError(
                "expectation needs a prompt whose answer begins with the grade, and that of "
                f"{self.prompt!r} has {template.before_grade!r} before it"
            )

    def with_instruction(self, instruction: str) -> "PointwiseGrade":
        """A copy with an instruction; the strategy itself if its prompt has no place for one."""
        takes = require(self.prompt, PointwisePrompt).takes_instruction
        return replace(self, instruction=instruction) if takes else self

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan the answers of all passages side by side. One passage gets its score too."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the ranking of the passages that have scores."""
        template = require(self.prompt, PointwisePrompt)
        score = partial(self._scored, template, query)
        return (yield from rank_each(score, passages, "grade"))

    def _scored(self, template: PointwisePrompt, query: str, passage: str) -> Plan[Scored]:
        top = template.top_grade or 0
        render = partial(template.render, query, passage, instruction=self.instruction)
        words = template.most_words
        if self.expectation and not template.reasoning:
            digits = _digits(top)
            read = yield from ask_fitted(render, lambda p: NextToken(p, digits), [passage], words)
            score = yield from _mean_grade(read.prompt, label_scores(read.answer, digits), top)
            return Scored(score, Report(truncated=read.cut))
        room = self.max_tokens or _room(template)
        found = yield from ask_fitted(
            render,
            lambda p: self.sampling.generate(p, room, logprobs=self.weighted),
            [passage],
            words,
        )
        written = read_grade(found.answer, template, weighted=self.weighted)
        report = written.report + Report(truncated=found.cut)
        if not self.expectation or written.score is None:
            return replace(written, report=report)
        # The mean over all grades, asked for where the written one starts.
        text = _text(found.answer)
        grade = parse_grade(text, reasoning=True)
        before = _continued(found.prompt, text[: grade[1]] if grade else text)
        [answer] = yield from ask([NextToken(before, _digits(top))])
        score = yield from _mean_grade(before, label_scores(answer, _digits(top)), top)
        return Scored(score, report)


def _room(template: PointwisePrompt) -> int:
    """The tokens of the longest answer."""
    if template.reasoning:
        return REASONING_TOKENS + 1024
    return 100 if template.before_grade else 8


def read_grade(answer: Completion, template: PointwisePrompt, *, weighted: bool) -> Scored:
    """Grade, times probability if ``weighted``; no score where the answer has no such grade."""
    text, before = _text(answer), template.before_grade
    cut = int(answer.finish_reason == "length" and (template.reasoning or bool(before)))
    found = parse_grade(text, reasoning=template.reasoning, before=before)
    # A number at the very end of an answer that was cut may have lost a digit.
    if found is None or (cut and found[2] == len(text)):
        return Scored(None, Report(malformed=1, cut_answers=cut))
    grade, start, stop = found
    place, logprob = 0, 0.0
    for token, value in answer.tokens if weighted else ():
        if place < stop and place + len(token) > start:  # it has a character of the grade
            logprob += value
        place += len(token)
    if grade > (template.top_grade or 0) or math.isnan(logprob):
        return Scored(None, Report(invalid_grades=1))
    return Scored(grade * math.exp(min(logprob, 0.0)))


def _text(answer: Completion) -> str:
    """The answer's text, put together from its tokens if they are known."""
    return "".join(token for token, _ in answer.tokens) or answer.text


def _digits(top: int) -> tuple[str, ...]:
    return tuple(map(str, range(min(top, 9) + 1)))


def _continued(prompt: Prompt, written: str) -> Prompt:
    return replace(prompt, prefill=text_of(prompt.prefill) + written)


def _mean_grade(prompt: Prompt, first: Sequence[float], top: int) -> Plan[float]:
    """The mean grade, given the log-probabilities of its first digit."""
    weights = [math.exp(min(logprob, 0.0)) for logprob in first]
    if top > 9:
        second = _digits(top - 10)
        [answer] = yield from ask([NextToken(_continued(prompt, "1"), second)])
        longer = [math.exp(min(x, 0.0)) for x in label_scores(answer, second)]
        one = weights[1]
        weights[1] = one * max(0.0, 1.0 - sum(longer))
        weights += [one * share for share in longer]
    total = sum(weights)
    if not total:
        raise ModelOutputError("no grade has any probability")
    return sum(grade * weight for grade, weight in enumerate(weights)) / total
