"""Every pair compared, and an order made of the preferences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from ..calls import NextToken, Plan
from ..errors import CallError, InputError
from ..plans import gather, settle
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, input_order
from ._aggregation import Matrix, best_path, borda, copeland
from ._attempt import Attempt
from ._listwise import fitted, label_scores

_METHODS = {"copeland": copeland, "borda": borda, "path": best_path}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairwise:
    """Ask which of two passages is more relevant, for every pair and in both orders.

    Asking in both orders cancels the model's liking for the first place. ``n * (n - 1)`` calls of
    one forward pass each, all in one batch: for short lists, or behind a `Cascade`. Scores are of
    kind ``"rank"``.

    Args:
        prompt: A listwise prompt for two passages, or its versioned name.
        aggregate: How an order is made of the preferences. ``"copeland"``: by the number of others
            each one beats; ``"borda"``: by the sum of its preferences; ``"path"``: the maximum
            Hamiltonian path, which believes neighbours only.

    Raises:
        InputError: ``aggregate`` is not known.

    References:
        Qin et al., Pairwise Ranking Prompting, arXiv:2306.17563, 2023; the path: Li et al.,
        TSPRank, arXiv:2411.12064, 2024.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> Reranker(Pairwise(), by_length).rank("q", ["a", "abc", "ab"]).order
        (1, 2, 0)
    """

    prompt: str | ListwisePrompt = "pairwise.v1"
    aggregate: Literal["copeland", "borda", "path"] = "copeland"

    def __post_init__(self) -> None:
        require(self.prompt, ListwisePrompt)
        if self.aggregate not in _METHODS:
            raise InputError(f"aggregate is {self.aggregate!r}, expected one of {sorted(_METHODS)}")

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan both questions of every pair in one batch."""
        return (yield from self.attempt(query, passages)).result()

    def attempt(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """`rank`, or where a call failed the order by the preferences that are known."""
        n = len(passages)
        if n < 2:
            return Attempt(input_order(n))
        pairs = [(i, j) for a, b in combinations(range(n), 2) for i, j in ((a, b), (b, a))]
        plans = [settle(self._duel(query, passages[i], passages[j])) for i, j in pairs]
        answers = yield from gather(plans)
        matrix = [[0.5] * n for _ in range(n)]
        report, errors, first = Report(), list[CallError](), dict[tuple[int, int], float]()
        for (i, j), answer in zip(pairs, answers, strict=True):
            if isinstance(answer, CallError):
                errors.append(answer)
                continue
            first[i, j], said = answer
            report += said.mapped([i, j])
        for i, j in combinations(range(n), 2):
            seen = [p for p in (first.get((i, j)), _other(first.get((j, i)))) if p is not None]
            if seen:
                matrix[i][j] = sum(seen) / len(seen)
                matrix[j][i] = 1.0 - matrix[i][j]
        ranking = Ranking(_order(self.aggregate, matrix), report=report)
        return Attempt(ranking, errors[0] if errors else None)

    def _duel(self, query: str, one: str, other: str) -> Plan[tuple[float, Report]]:
        """The probability that the first of two shown passages is the better one."""
        template = require(self.prompt, ListwisePrompt)
        names = template.names(2)
        found = yield from fitted(
            template, query, [one, other], lambda prompt: NextToken(prompt, names)
        )
        a, b = label_scores(found.answer, names)
        unseen = sum(name not in found.answer.seen for name in names)
        share = 1.0 / (1.0 + math.exp(min(b - a, 700.0)))
        return share, Report(unseen_labels=unseen, truncated=found.cut)


def _other(share: float | None) -> float | None:
    return None if share is None else 1.0 - share


def _order(aggregate: str, matrix: Matrix) -> tuple[int, ...]:
    order: tuple[int, ...] = _METHODS[aggregate](matrix)
    return order
