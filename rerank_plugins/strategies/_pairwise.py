"""Comparisons of every pair, and the order that they give."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from .._checks import one_of
from ..calls import Plan
from ..errors import CallError
from ..plans import gather, settle
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, input_order
from ._aggregation import Matrix, best_path, borda, copeland
from ._attempt import Attempt
from ._labels import ask_labels

_METHODS: Mapping[str, Callable[[Matrix], tuple[int, ...]]] = {
    "copeland": copeland,
    "borda": borda,
    "path": best_path,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairwise:
    """Ask which of two passages is more relevant, for every pair and in both orders.

    Asking in both orders cancels the model's bias for the first place. ``n * (n - 1)`` calls of
    one forward pass each, all in one batch: for short lists, or behind a `Cascade`. Scores are of
    kind ``"rank"``.

    Args:
        prompt: A listwise prompt for two passages, or its versioned name.
        aggregate: The order from the preferences. ``"copeland"``: by the number of others that
            each one beats; ``"borda"``: by the sum of its preferences; ``"path"``: the maximum
            Hamiltonian path, which uses the preferences between neighbours only.

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
        one_of("aggregate", self.aggregate, _METHODS)

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan both questions of every pair in one batch."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the order by the preferences that are known."""
        n = len(passages)
        if n < 2:
            return Attempt(input_order(n))
        pairs = [(i, j) for a, b in combinations(range(n), 2) for i, j in ((a, b), (b, a))]
        plans = [settle(self._compared(query, passages[i], passages[j])) for i, j in pairs]
        answers = yield from gather(plans)
        shares: dict[tuple[int, int], list[float]] = defaultdict(list)
        report, errors = Report(), list[CallError]()
        for (i, j), answer in zip(pairs, answers, strict=True):
            if isinstance(answer, CallError):
                errors.append(answer)
                continue
            share, own = answer
            shares[min(i, j), max(i, j)].append(share if i < j else 1.0 - share)
            report += own.mapped([i, j])
        preferences = [[0.5] * n for _ in range(n)]
        for (i, j), seen in shares.items():
            preferences[i][j] = sum(seen) / len(seen)
            preferences[j][i] = 1.0 - preferences[i][j]
        ranking = Ranking(_METHODS[self.aggregate](preferences), report=report)
        return Attempt(ranking, errors[0] if errors else None)

    def _compared(self, query: str, one: str, other: str) -> Plan[tuple[float, Report]]:
        """The probability that the first of two passages is the better one."""
        template = require(self.prompt, ListwisePrompt)
        [a, b], report = yield from ask_labels(template, query, [one, other])
        return 1.0 / (1.0 + math.exp(min(b - a, 700.0))), report
