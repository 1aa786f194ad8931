"""Groups of passages, graded against each other."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..calls import Plan
from ..errors import CallError, InputError
from ..parsing import parse_grades
from ..plans import gather, settle
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, input_order
from ._attempt import Attempt
from ._listwise import fitted
from ._sampling import GREEDY, Sampling
from ._scored import Scored, rank_scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Groupwise:
    """Grade groups of passages from 0 to 10, and average each passage's grades over its groups.

    The list is shuffled and cut into overlapping groups, all asked at once. A passage's grade is
    the mean over the groups in which the model really graded it: a group whose answer cannot be
    read is missing and not zero. Integer grades tie all the time, so the order of the first stage
    is part of the method: a score is ``weight`` times the mean grade on a scale from 0 to 1, and
    the rest of the weight times ``(n - place) / n``, with places from 0 (``score_kind="grade"``).
    That needs no scores of the retriever. A passage that no group graded keeps its place.

    Args:
        prompt: A listwise prompt that asks for grades as JSON, or its versioned name.
        size: Passages in a group.
        interval: How far apart the groups begin in the shuffled list; below ``size`` they overlap.
        repeats: How often the list is shuffled and grouped anew: more calls, steadier grades.
        weight: Of the grade against the first stage's order, 0 to 1.
        top_grade: The highest grade of the prompt's scale.
        max_tokens: The longest answer.
        sampling: How the answers are decoded.
        seed: Of the shuffles.

    Raises:
        InputError: A number is out of range.

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
        if require(self.prompt, ListwisePrompt).alphabet != "numbers":
            raise InputError("grades are read by number: use a prompt with numbers")
        for name in ("size", "interval", "repeats", "top_grade", "max_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.interval > self.size:
            raise InputError(
                f"the interval is {self.interval} and the size {self.size}",
                hint="Passages between two groups would not be graded.",
            )
        if not 0 <= self.weight <= 1:
            raise InputError(f"weight is {self.weight}, expected a number from 0 to 1")

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
        """Plan one call a group, all in one batch. One passage gets its grade too."""
        return (yield from self.attempt(query, passages)).result()

    def attempt(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """`rank`, or where a group failed the ranking by the grades of the others."""
        n = len(passages)
        if not n:
            return Attempt(input_order(0))
        groups = self.groups(n)
        plans = [settle(self._graded(query, [passages[i] for i in g])) for g in groups]
        grades: list[list[int]] = [[] for _ in range(n)]
        report, errors = Report(), list[CallError]()
        for group, answer in zip(groups, (yield from gather(plans)), strict=True):
            if isinstance(answer, CallError):
                errors.append(answer)
                continue
            found, said = answer
            report += said.mapped(group)
            for place, grade in found.items():
                grades[group[place]].append(grade)
        known = rank_scored(self._scores(grades), "grade", report=report)
        return replace(known, error=errors[0]) if errors else known

    def _graded(self, query: str, texts: Sequence[str]) -> Plan[tuple[dict[int, int], Report]]:
        """The grades of one group by place, and what its answer was like."""
        template = require(self.prompt, ListwisePrompt)
        read = yield from fitted(
            template, query, texts, lambda p: self.sampling.generate(p, self.max_tokens)
        )
        found = parse_grades(
            read.answer.text,
            len(texts),
            self.top_grade,
            reasoning=template.reasoning,
        )
        report = Report(
            malformed=int(not found.by_position),
            duplicates=found.duplicates,
            out_of_range=found.out_of_range,
            invalid_grades=found.invalid,
            cut_answers=int(read.answer.finish_reason == "length"),
            truncated=read.cut,
        )
        return found.by_position, report

    def _scores(self, grades: Sequence[Sequence[int]]) -> list[Scored | CallError]:
        n = len(grades)
        scores: list[Scored | CallError] = []
        for place, given in enumerate(grades):
            if not given:
                scores.append(Scored(None))
                continue
            mean = sum(given) / len(given) / self.top_grade
            scores.append(Scored(self.weight * mean + (1 - self.weight) * (n - place) / n))
        return scores
