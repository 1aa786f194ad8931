"""`QdrantNaive` and `Sefr`: Qdrant's relevance feedback, for comparison and for those who move.

Both score a passage by a formula that is linear in its vector where similarity is the inner
product, or the cosine of vectors of length 1: so each is one new query vector, in any index.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ..._checks import at_least, positive
from ...errors import InputError
from .opinion import EQUAL, Feedback, FloatArray, read_feedback
from .published import Found, Part, adam_steps, each_query
from .turn import SAME_VECTORS, Moved

ONE_CLASS = "every score is on the same side of the threshold"
NO_VECTOR = "the coefficients make a vector of zeros"
_NEEDS = 'An order alone is for method="first" or "safe".'
_MARGIN = 0.01
_LEAST = 1e-6
"""By how much the loss of the held-out queries must fall to count as lower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QdrantNaive:
    r"""Qdrant's strategy ``naive``: the query plus weighted differences of passages.

    A passage ``x`` has the score ``a sim(q, x)`` plus, of each pair of passages of which the
    reranker prefers one, ``(s_p - s_n)^b c (sim(p, x) - sim(n, x))``. That is the inner product
    with

    .. math:: a q + c \sum_{s_p > s_n} (s_p - s_n)^b (v_p - v_n)

    The coefficients belong to one collection, one encoder and one reranker: they depend on the
    scale of its scores, and `trained` finds them. Passages without a score are left out.

    Args:
        coefficients: ``a``, ``b`` and ``c``. The default is where training begins, not a choice.
        items: How many of the reranked passages count, in the order of the first search; all when
            None. Qdrant trains with 5, and each pair of them adds to the sum.

    Raises:
        InputError: There are not three finite numbers, or ``items`` is below 2.

    References:
        Qdrant 1.17: ``RelevanceFeedbackQuery``; the package ``qdrant-relevance-feedback`` 0.1.1.

    Examples:
        >>> QdrantNaive(coefficients=(1, 0.5, 0.02)).coefficients
        (1.0, 0.5, 0.02)
    """

    coefficients: tuple[float, ...] = (1.0, 1.0, 1.0)
    items: int | None = 5

    def __post_init__(self) -> None:
        given: Any = self.coefficients
        try:
            numbers = () if isinstance(given, str) else tuple(map(float, given))
        except (TypeError, ValueError):
            numbers = ()
        if len(numbers) != 3 or not np.isfinite(numbers).all():
            raise InputError(
                f"coefficients is {self.coefficients!r:.80}, expected three finite numbers: "
                "a, b and c",
                hint="QdrantNaive.trained finds them.",
            )
        object.__setattr__(self, "coefficients", numbers)
        at_least(2, none=True, items=self.items)

    def move(self, feedback: Feedback) -> Moved:
        """Move each query."""
        if feedback.scores is None:
            raise InputError("qdrant-naive needs scores", hint=_NEEDS)
        return each_query(feedback, self._move)

    def _move(self, query: FloatArray, part: Part) -> Found:
        assert part.scores is not None  # noqa: S101 - checked by `move`
        passages, scores = part.passages[: self.items], part.scores[: self.items]
        a, b, c = self.coefficients
        gaps = scores[:, None] - scores[None, :]
        better = gaps > 0
        if not better.any():
            return EQUAL
        confidence = np.where(better, np.where(better, gaps, 1.0) ** b, 0.0)
        weights = c * (confidence.sum(axis=1) - confidence.sum(axis=0))
        moved = a * query + weights @ passages
        if not moved.any():
            return NO_VECTOR
        return moved, _misfit(passages @ query, scores), _misfit(passages @ moved, scores)

    @classmethod
    def trained(
        cls,
        queries: Any,
        passages: Any,
        scores: Any,
        *,
        items: int = 5,
        rate: float = 0.005,
        epochs: int = 1000,
        patience: int = 200,
    ) -> "QdrantNaive":
        """Find the coefficients as Qdrant's package does.

        Of each query, the pair with the largest difference of scores among the first ``items``
        passages is the feedback, and the other passages should come in the reranker's order: a
        hinge loss over their pairs with a margin of .01, by Adam, from 1, 1, 1. The first half of
        the queries is learned from; the coefficients with the lowest loss on the rest are kept.

        Args:
            queries: Query vectors, shape ``(n, dim)``.
            passages: Vectors of what the first search found, best first, shape ``(n, k, dim)``; 50
                passages a query are usual.
            scores: The reranker's scores of all of them, shape ``(n, k)``.
            items: How many of the first passages are feedback.
            rate: Adam's learning rate.
            epochs: Updates at most.
            patience: Updates without a lower loss on the held-out half, after which it ends.

        Raises:
            InputError: Shapes disagree, a score is missing, or there is too little to learn from.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> queries, passages = rng.normal(size=(20, 8)), rng.normal(size=(20, 30, 8))
            >>> meant = queries + rng.normal(size=(20, 8))
            >>> scores = np.einsum("qkd,qd->qk", passages, meant)
            >>> QdrantNaive.trained(queries, passages, scores).coefficients[2] > 0
            True
        """
        at_least(2, items=items)
        at_least(1, epochs=epochs, patience=patience)
        positive(rate=rate)
        lessons = _lessons(read_feedback(queries, passages, scores, None), items)
        half = len(lessons.own) // 2
        learned = _Lessons(*(part[:half] for part in lessons))
        held = _Lessons(*(part[half:] for part in lessons))
        kept: FloatArray = np.ones(3)
        best, since = np.inf, 0
        steps = adam_steps(learned.loss, np.ones(3), rate=rate)
        for coefficients in islice(steps, epochs):
            loss, _ = held.loss(coefficients)
            if loss + _LEAST < best:
                best, kept, since = loss, coefficients, 0
            else:
                since += 1
            if since >= patience:
                break
        return cls(coefficients=tuple(kept.tolist()), items=items)


class _Lessons(NamedTuple):
    """Numbers to train the coefficients on, of each query that has a pair.

    Attributes:
        own: The retriever's scores of the passages that are no feedback, shape ``(n, m)``.
        confidence: The largest difference of two scores in the feedback, shape ``(n, 1)``.
        delta: Similarity with the better passage of that pair minus that with the other one.
        target: The reranker's scores.
    """

    own: FloatArray
    confidence: FloatArray
    delta: FloatArray
    target: FloatArray

    def loss(self, coefficients: FloatArray) -> tuple[float, FloatArray]:
        """The hinge loss over pairs, and its gradient."""
        a, b, c = coefficients
        strength = self.confidence**b
        scores = a * self.own + c * strength * self.delta
        missing = scores[:, None, :] - scores[:, :, None] + _MARGIN
        wrong = (self.target[:, :, None] > self.target[:, None, :]) & (missing > 0)
        slope = wrong.sum(axis=1) - wrong.sum(axis=2)  # of the loss by each score
        by_c = strength * self.delta
        parts = (self.own, c * np.log(self.confidence) * by_c, by_c)
        return float(missing[wrong].sum()), np.array([(slope * part).sum() for part in parts])


def _lessons(feedback: Feedback, items: int) -> _Lessons:
    """Make the lessons of a batch.

    Raises:
        InputError: A score or a vector is missing, or there is too little to learn from.
    """
    scores, n = feedback.scores, feedback.passages.shape[1]
    if scores is None or not np.isfinite(scores).all() or not feedback.complete:
        raise InputError("a score or a vector is missing", hint="Score every passage.")
    if n < items + 2:
        raise InputError(
            f"there are {n} passages a query, and {items} of them are feedback",
            hint=f"Give {items + 2} or more.",
        )
    first = scores[:, :items]
    usable = np.ptp(first, axis=1) > 0
    if usable.sum() < 2:
        raise InputError(
            f"{usable.sum()} queries have different scores among their first {items} passages, "
            "expected at least 2"
        )
    vectors, scores, first = feedback.passages[usable], scores[usable], first[usable]
    queries, rows = feedback.queries[usable], np.arange(len(first))
    pair = vectors[rows, first.argmax(axis=1)] - vectors[rows, first.argmin(axis=1)]
    rest = vectors[:, items:].astype(np.float64)
    own, delta = ((rest @ side[:, :, None])[..., 0] for side in (queries, pair))
    return _Lessons(own, np.ptp(first, axis=1)[:, None], delta, scores[:, items:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sefr:
    """Qdrant's strategy ``sefr``: a linear classifier of liked and other passages is the new query.

    Each dimension is scaled to span 0 to 1 over the reranked passages. Its weight is the difference
    of the means of both classes by their sum. Passages without a score are left out.

    Args:
        threshold: Scores above it are liked; the mean of the scores when None.
        target_weight: How much of the old query is added, relative to the classifier's length; .01
            to 1 are useful according to Qdrant.

    References:
        Keshavarz, Abadeh and Rawassizadeh, SEFR, arXiv:2006.04620; Qdrant's source.

    Examples:
        >>> Sefr(target_weight=0.1)
        Sefr(threshold=None, target_weight=0.1)
    """

    threshold: float | None = None
    target_weight: float = 0.0

    def __post_init__(self) -> None:
        at_least(-np.inf, none=True, threshold=self.threshold)
        at_least(0.0, target_weight=self.target_weight)

    def move(self, feedback: Feedback) -> Moved:
        """Move each query."""
        if feedback.scores is None:
            raise InputError("sefr needs scores", hint=_NEEDS)
        return each_query(feedback, self._move)

    def _move(self, query: FloatArray, part: Part) -> Found:
        assert part.scores is not None  # noqa: S101 - checked by `move`
        passages, scores = part.passages, part.scores
        liked = scores > (scores.mean() if self.threshold is None else self.threshold)
        if liked.all() or not liked.any():
            return ONE_CLASS
        span = np.ptp(passages, axis=0)
        span = np.where(span > 0, span, 1.0)
        scaled = (passages - passages.min(axis=0)) / span
        yes, no = scaled[liked].mean(axis=0), scaled[~liked].mean(axis=0)
        weights = (yes - no) / (yes + no + 1e-7) / span
        size = np.linalg.norm(weights)
        if not size:
            return SAME_VECTORS
        moved = weights + self.target_weight * size / np.linalg.norm(query) * query
        return moved, _misfit(passages @ query, scores), _misfit(passages @ moved, scores)


def _misfit(own: FloatArray, scores: FloatArray) -> float:
    """1 minus the correlation of the query's scores with the reranker's: from 0 to 2."""
    own, scores = own - own.mean(), scores - scores.mean()
    length = np.linalg.norm(own) * np.linalg.norm(scores)
    return float(1 - own @ scores / length) if length > 0 else 1.0
