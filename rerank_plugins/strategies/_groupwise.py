"""Groups of passages, graded against each other."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._checks import at_least, share
from ..calls import Plan
from ..errors import CallError, InputError
from ..parsing import parse_grades
from ..plans import gather, settle
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report
from ._attempt import Attempt, Scored, rank_scored
from ._fit import ask_window
from ._sampling import GREEDY, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Groupwise:
    """Grade groups of passages from 0 to 10, and average each passage's grades over its groups.

    The list is shuffled and cut into overlapping groups, all asked at once. A passage's grade is
    the mean over the groups in which the model graded it: a group whose answer cannot be read is
    missing and not zero. Integer grades tie often, so the order of the first stage is part of the
    method: with the mean grade scaled to 0 to 1 and places counted from 0, a score is ``weight *
    grade + (1 - weight) * (n - place) / n`` (``score_kind="grade"``). It needs no scores from the
    retriever. A passage that no group graded keeps its place.

    Args:
        prompt: A listwise prompt that asks for grades as JSON, or its versioned name.
        size: Passages in a group.
        interval: Passages between the starts of two groups in the shuffled list; below ``size``,
            groups overlap.
        repeats: The number of times that the list is shuffled and grouped: more calls, steadier
            grades.
        weight: The weight of the grade against the first stage's order, 0 to 1.
        top_grade: The highest grade of the prompt's scale.
        max_tokens: The longest answer.
        sampling: How the answers are decoded.
        seed: The seed of the shuffles.

    Raises:
        InputError: A number is out of range, or the prompt's identifiers are not numbers.

    References:
        GroupRank, arXiv:2511.11653, 2025. Its paper uses groups of 20; its maintainers an interval
        of 10 and a weight of 0.6.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> Reranker(Groupwise(), overlap).rank("flea", ["a dog", "a flea"]).order
        (1, 0)
    """

    prompt: str | ListwisePrompt = "grouprank.v1"
    size: int = 20
    interval: int = 10
    repeats: int = 1
    weight: float = 0.6
    top_grade: int = 10
    max_tokens: int = 8000
    sampling: Sampling = GREEDY
    seed: int = 666

    def __post_init__(self) -> None:
        alphabet = require(self.prompt, ListwisePrompt).alphabet
        if alphabet != "numbers":
            raise InputError(
                f"the prompt's identifiers are {alphabet}, and grades are read by number",
                hint="Use a prompt with alphabet = 'numbers'.",
            )
        at_least(1, size=self.size, interval=self.interval, repeats=self.repeats)
        share(weight=self.weight)
        at_least(1, top_grade=self.top_grade, max_tokens=self.max_tokens)
        if self.interval > self.size:
            raise InputError(
                f"interval is {self.interval} and size {self.size}: passages between two groups "
                "would not be graded",
                hint="Give an interval of at most size.",
            )

    def groups(self, n: int) -> list[list[int]]:
        """The positions in each group of a list of ``n``, in the order they are shown.

        Examples:
            >>> [len(group) for group in Groupwise().groups(45)]
            [20, 20, 20, 15, 5]
        """
        found = []
        for repeat in range(self.repeats):
            order = list(range(n))
            random.Random(self.seed + repeat).shuffle(order)  # noqa: S311 - not for secrets
            found += [order[i : i + self.size] for i in range(0, n, self.interval)]
        return found

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call per group, all in one batch. One passage gets its grade too."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a group fails, keep the ranking by the grades of the others."""
        n = len(passages)
        groups = self.groups(n)
        plans = [settle(self._graded(query, [passages[i] for i in g])) for g in groups]
        grades: list[list[int]] = [[] for _ in range(n)]
        report, errors = Report(), list[CallError]()
        for group, answer in zip(groups, (yield from gather(plans)), strict=True):
            if isinstance(answer, CallError):
                errors.append(answer)
                continue
            by_place, own = answer
            report += own.mapped(group)
            for place, grade in by_place.items():
                grades[group[place]].append(grade)
        scored = [Scored(None)] * n
        for place, given in enumerate(grades):
            if given:
                mean = sum(given) / len(given) / self.top_grade
                score = self.weight * mean + (1 - self.weight) * (n - place) / n
                scored[place] = Scored(score)
        known = rank_scored(scored, "grade", report=report)
        if not errors:
            return known
        return replace(known, error=errors[0], unread=known.ranking.report.missing)

    def _graded(self, query: str, texts: Sequence[str]) -> Plan[tuple[dict[int, int], Report]]:
        """The grades of one group by place, and the report of its answer."""
        template = require(self.prompt, ListwisePrompt)
        read = yield from ask_window(
            template, query, texts, lambda p: self.sampling.generate(p, self.max_tokens)
        )
        text, top = read.answer.text, self.top_grade
        found = parse_grades(text, len(texts), top, reasoning=template.reasoning)
        report = Report(
            malformed=int(not found.by_position),
            duplicates=found.duplicates,
            out_of_range=found.out_of_range,
            invalid_grades=found.invalid,
            cut_answers=int(read.answer.finish_reason == "length"),
            truncated=read.cut,
        )
        return found.by_position, report
