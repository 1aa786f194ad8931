"""The teacher: three signals of relevance, added up in units of their spread within lists."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARES = np.array([1.0, 1.0, 0.3])  # of the cosine, the late interaction, and BM25

Signals = tuple[float, float, float]


@dataclass(frozen=True)
class Teacher:
    """Turns signals into scores, whose spread within lists is 1."""

    weights: np.ndarray
    scale: float

    @classmethod
    def fitted(cls, lists: Sequence[Sequence[Signals]]) -> "Teacher":
        """Fit a teacher to the spread of these lists, which are equally long."""
        signals = np.array(lists)
        weights = SHARES / _centred(signals).reshape(-1, len(SHARES)).std(0)
        return cls(weights, float(_centred((signals * weights).sum(-1)).std()))

    def scores(self, signals: Sequence[Signals]) -> list[float]:
        """A score for each passage of a list."""
        mixed = (np.array(signals) * self.weights).sum(-1) / self.scale
        return [round(float(score), 4) for score in mixed]


def _centred(lists: np.ndarray) -> np.ndarray:
    return lists - lists.mean(1, keepdims=True)


def lexical_signal(scores: np.ndarray, i: int) -> float:
    """A passage's share of the best BM25 score."""
    return float(scores[i]) / max(float(scores.max()), 1e-6)
