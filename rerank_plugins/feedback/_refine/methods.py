"""Ways to move a query vector towards what a reranker liked."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...errors import InputError
from .descent import adam, check_descent
from .objectives import FloatArray, dots, softmax_kl, weighted_ranknet
from .opinion import EQUAL, FEW, Feedback

SAME_VECTORS = "all passages have the same vector"
OVERFLOWN = "the vectors or scores are too large or too small for this method"
FLAT = "the retriever gave every passage the same score"
ALONG = "what the reranker likes lies in the query's own direction"
UNTRUSTED = "the reranker's order looks random to the retriever's vectors"


class Moved(NamedTuple):
    """New query vectors and what there is to say of them.

    Attributes:
        vectors: Shape ``(batch, dim)``.
        before: The loss at the old vectors, shape ``(batch,)``.
        after: The loss at the new ones.
        trust: From 0 (the query stayed) to 1, shape ``(batch,)``.
        skipped: Why a query stayed, empty where it moved; length ``batch``.
    """

    vectors: FloatArray
    before: FloatArray
    after: FloatArray
    trust: FloatArray
    skipped: tuple[str, ...]


class Method(Protocol):
    """Moves query vectors. For type checking only: nothing to subclass."""

    def move(self, feedback: Feedback) -> Moved:
        """Move every query of the batch; those that `Feedback.skipped` names are put back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    r"""Turns the query towards the reranker's opinion, by an angle that is known beforehand.

    The direction is a ridge regression of the reranker's (calibrated) scores on the passage
    vectors: with the centred vectors ``V``, their Gram matrix ``G`` and its mean diagonal ``T``,

    .. math:: \Delta = V^T (G + \lambda T I)^{-1} y

    of which the part orthogonal to the query counts. It needs no learning rate and no steps, and
    does not change when scores, passage vectors or the query are scaled.

    A reranker may be wrong, so the angle is multiplied with a trust between 0 and 1. It comes from
    two statistics that are about normal around 0 for an order that has nothing to do with the
    passages: the correlation of the reranker's scores with the retriever's (a reversed order fails
    here), and how smooth the scores are over the vectors, ``y^T G y``.

    Args:
        degrees: The angle, between 0 and 90.
        smoothing: ``lambda``. Higher trusts single passages less.
        doubt: The sum of both statistics up to which the query stays; None to trust every
            reranker. Trust is complete 1 above.

    Examples:
        >>> Turn(degrees=45, smoothing=3, doubt=None)
        Turn(degrees=45, smoothing=3, doubt=None)
    """

    degrees: float = 25.0
    smoothing: float = 10.0
    doubt: float | None = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.degrees <= 90:
            raise InputError(f"degrees is {self.degrees}, expected more than 0 and at most 90")
        if not 0 < self.smoothing < np.inf:
            raise InputError(f"smoothing is {self.smoothing}, expected a positive number")
        if self.doubt is not None and not -np.inf < self.doubt < np.inf:
            raise InputError(f"doubt is {self.doubt}, expected a number or None")

    def move(self, feedback: Feedback) -> Moved:
        """Turn every query."""
        queries, n = feedback.queries, np.maximum(feedback.count[:, 0], 2)
        centred, rounding = _centred(feedback)
        y = feedback.target().astype(centred.dtype)
        length = lengths(queries)[:, None]
        length = np.where(length > 0, length, 1.0)  # a double may not fit into a single
        agreement = _agreement(y, _products(centred, (queries / length).astype(y.dtype)), n)
        gram = centred @ centred.transpose(0, 2, 1)
        spread = np.einsum("bii->b", gram) / n
        spread = np.where(spread > rounding, spread, 0.0)
        trust = np.ones(len(feedback))
        if self.doubt is not None:
            evidence = agreement * np.sqrt(n - 1) + _coherence(gram, y, spread, n)
            trust = np.minimum(np.maximum(evidence - self.doubt, 0), 1) * (agreement > 0)
        weights = _solved(gram, self.smoothing * spread, y)
        aside = _aside(queries, _combined(weights, centred))
        moved = _turned(queries, aside, self.degrees * trust)
        after = _agreement(y, _products(centred, (moved / length).astype(y.dtype)), n)
        checks = zip(spread.tolist(), trust.tolist(), np.any(aside, axis=1).tolist(), strict=True)
        reasons = tuple(
            SAME_VECTORS if not s else UNTRUSTED if not t else "" if a else ALONG
            for s, t, a in checks
        )
        return Moved(moved, 1 - agreement, 1 - after, trust, reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """ReFIT, as published and as FIRST's code has it: KL divergence by Adam.

    The reranker's distribution is the softmax of its raw scores; the query's is the softmax of
    its inner products, scaled once so that they span half of the range of the reranker's scores.
    Probabilities and grades make a flat distribution: give logits. Passages without a score are
    left out.

    Args:
        rate: Adam's learning rate; .005 is a large step for vectors of length 1.
        steps: Updates.

    References:
        Reddy et al., ReFIT, arXiv:2305.11744; Reddy et al., FIRST, arXiv:2406.15657, 4.4.
    """

    rate: float = 0.005
    steps: int = 100

    def __post_init__(self) -> None:
        check_descent(self.rate, self.steps)

    def move(self, feedback: Feedback) -> Moved:
        """Descend for each query."""
        if feedback.scores is None:
            raise InputError(
                "refit needs scores", hint='An order alone is for method="first" or "safe".'
            )
        return _each(feedback, self._move)

    def _move(self, query: FloatArray, part: "_Part") -> tuple[FloatArray, float, float] | None:
        assert part.scores is not None  # noqa: S101 - checked by `move`
        scale = _half_range(np.ptp(part.scores), part.passages @ query)
        if scale is None:
            return None
        objective = partial(
            softmax_kl, passages=part.passages, target=_softmax(part.scores), scale=scale
        )
        moved = adam(objective, query, rate=self.rate, steps=self.steps)
        return moved, objective(query)[0], objective(moved)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """FIRST's two stages, as published: `Refit` on a cross-encoder, weighted RankNet on an LLM.

    Of the LLM its order counts; the scores that set the scale are the retriever's own, dealt out
    along that order, as in the authors' run files. With both scores and an order, the scores are a
    cross-encoder's and come first. With one of the two there is the second stage alone.

    Args:
        cross_encoder: The first stage.
        rate: Adam's learning rate in the second stage.
        steps: Updates in the second stage.

    References:
        Reddy et al., FIRST, arXiv:2406.15657, section 4.4 and the authors' code.
    """

    cross_encoder: Refit = Refit()
    rate: float = 0.001
    steps: int = 20

    def __post_init__(self) -> None:
        check_descent(self.rate, self.steps)
        if not isinstance(self.cross_encoder, Refit):
            raise InputError(f"cross_encoder is {self.cross_encoder!r}, expected Refit(...)")

    def move(self, feedback: Feedback) -> Moved:
        """Descend for each query."""
        return _each(feedback, self._move)

    def _move(self, query: FloatArray, part: "_Part") -> tuple[FloatArray, float, float] | None:
        dealt = np.ptp(part.passages @ query)
        start = query
        if part.scores is not None and part.both:
            first = self.cross_encoder._move(query, part)
            start = query if first is None else first[0]
        scale = _half_range(dealt, part.passages @ start)
        if scale is None:
            return None
        objective = partial(weighted_ranknet, passages=part.passages, ranks=part.ranks, scale=scale)
        moved = adam(objective, start, rate=self.rate, steps=self.steps)
        return moved, objective(query)[0], objective(moved)[0]


METHODS: dict[str, Method] = {
    "safe": Turn(),
    "bold": Turn(degrees=45, smoothing=3, doubt=None),
    "refit": Refit(),
    "first": First(),
}
"""The methods by name."""


class _Part(NamedTuple):
    """The passages of one query that have a vector and a score."""

    passages: FloatArray
    ranks: FloatArray
    scores: FloatArray | None
    both: bool


def _each(feedback: Feedback, move: Any) -> Moved:
    """Move one query after the other, in double precision."""
    vectors = feedback.queries.astype(np.float64)
    before, after = np.zeros(len(feedback)), np.zeros(len(feedback))
    skipped = list(feedback.skipped)
    for i, query in enumerate(vectors):
        if skipped[i]:
            continue
        known = ~np.isnan(feedback.ordered[i])
        if feedback.scores is not None:
            known &= ~np.isnan(feedback.scores[i])
        part = _Part(
            feedback.passages[i][known].astype(np.float64),
            feedback.ordered[i][known],
            None if feedback.scores is None else feedback.scores[i][known],
            feedback.both,
        )
        if len(part.ranks) < 2 or np.ptp(part.ranks) == 0:
            skipped[i] = EQUAL if len(part.ranks) > 1 else FEW
            continue
        found = move(query, part)
        if found is None:
            skipped[i] = FLAT
        elif not np.isfinite([*found[0], *found[1:]]).all():
            skipped[i] = OVERFLOWN
        else:
            vectors[i], before[i], after[i] = found
    trust = np.array([0.0 if reason else 1.0 for reason in skipped])
    return Moved(vectors, before, after, trust, tuple(skipped))


def _half_range(target: Any, scores: FloatArray) -> float | None:
    """The scale at which the query's scores span half of the target's range."""
    spread = float(np.ptp(scores))
    return float(target) / spread / 2 if spread > 0 else None


def _softmax(logits: FloatArray) -> FloatArray:
    exponentials = np.exp(logits - logits.max())
    found: FloatArray = exponentials / exponentials.sum()
    return found


def _products(passages: FloatArray, queries: FloatArray) -> FloatArray:
    found: FloatArray = (passages @ queries[..., None])[..., 0]
    return found


def _combined(weights: FloatArray, passages: FloatArray) -> FloatArray:
    found: FloatArray = (weights[:, None] @ passages)[:, 0]
    return found


def _centred(feedback: Feedback) -> tuple[FloatArray, FloatArray]:
    """Passage vectors around their mean, and what their mean square may be by rounding alone.

    Zeros where there is no vector.
    """
    passages = feedback.passages
    # Without a copy: there is not much more to it than reading the vectors.
    highest = passages.max(axis=(1, 2), keepdims=True, initial=0.0)
    size = np.maximum(highest, -passages.min(axis=(1, 2), keepdims=True, initial=0.0))
    if not (size > 1e-6).all() or not (size < 1e6).all():  # a square must not overflow
        passages = passages / np.where(size > 0, size, 1)
        size = np.ones_like(size)
    ones = np.ones((1, passages.shape[1]), dtype=passages.dtype)  # a product beats a sum
    mean = ones @ passages / feedback.count[..., None].astype(passages.dtype)
    centred: FloatArray = passages - mean
    if not feedback.complete:
        centred *= feedback.present[..., None]
    digit = 16 * np.finfo(passages.dtype).eps * size[:, 0, 0].astype(np.float64)
    return centred, passages.shape[2] * digit**2


def _agreement(y: FloatArray, scores: FloatArray, n: Any) -> FloatArray:
    """The correlation of the target with the queries' own (centred) scores, from -1 to 1."""
    length = np.sqrt(dots(scores, scores)[:, 0] * n)
    found: FloatArray = dots(y, scores)[:, 0] / np.where(length > 0, length, 1)
    return found


def _solved(gram: FloatArray, ridge: FloatArray, y: FloatArray) -> FloatArray:
    """Regression weights of the passages; zeros where all passages are the same."""
    regular = gram.copy()
    diagonal = np.einsum("bii->bi", regular)  # a view
    diagonal += np.where(ridge > 0, ridge, 1.0)[:, None].astype(gram.dtype)
    return np.linalg.solve(regular, y[..., None])[..., 0]


def _coherence(gram: FloatArray, y: FloatArray, spread: FloatArray, n: Any) -> FloatArray:
    """How smooth ``y`` is over the vectors, in standard deviations of a random order.

    ``y^T G y`` has mean ``trace(G)`` (times n / (n-1)) over all permutations, and for many
    passages a variance near ``2 trace(G^2)``.
    """
    smooth = dots(y, _products(gram, y))[:, 0]
    total = np.maximum(n * spread, np.finfo(gram.dtype).tiny)
    ratio = smooth * (n - 1) / (n * total)
    flat = gram.reshape(len(gram), -1)
    deviation = np.sqrt(2 * dots(flat, flat)[:, 0]) / total
    found: FloatArray = (ratio - 1) / np.maximum(deviation, 1e-6)
    return found


def lengths(vectors: FloatArray) -> FloatArray:
    """The Euclidean length of each row."""
    found: FloatArray = np.sqrt(dots(vectors, vectors)[:, 0])
    return found


def _aside(queries: FloatArray, towards: FloatArray) -> FloatArray:
    """Orthogonal to the queries and as long, towards other vectors; zeros where those lie along."""
    square = dots(queries, queries)
    aside = towards - dots(towards, queries) / np.where(square > 0, square, 1.0) * queries
    size = np.sqrt(dots(aside, aside))
    rounding = np.sqrt(np.finfo(aside.dtype).eps * dots(towards, towards))
    factor = np.where(size > rounding, np.sqrt(square), 0.0) / np.where(size > 0, size, 1.0)
    found: FloatArray = aside * factor
    return found


def _turned(queries: FloatArray, aside: FloatArray, degrees: FloatArray) -> FloatArray:
    """Queries turned towards orthogonal vectors of the same length."""
    angle = np.where(aside.any(axis=1), np.radians(degrees), 0.0)[:, None]
    found: FloatArray = np.cos(angle) * queries + np.sin(angle) * aside
    return found.astype(queries.dtype)  # angles are in double precision
