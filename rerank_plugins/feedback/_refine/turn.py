"""`Turn`: the methods ``"safe"`` and ``"bold"``, a ridge regression in closed form."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...errors import InputError
from .opinion import Feedback, FloatArray, dots

SAME_VECTORS = "all passages have the same vector"
ALONG = "what the reranker likes lies in the query's own direction"
UNTRUSTED = "the reranker's order looks random to the retriever's vectors"


class Moved(NamedTuple):
    """New query vectors, and how they came about.

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
        """Move every query of the batch. The caller undoes it for those in `Feedback.skipped`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    r"""Turn the query towards the reranker's opinion, by an angle that is chosen beforehand.

    The direction is a ridge regression of the reranker's (calibrated) scores on the passage
    vectors: with the centred vectors ``V``, their Gram matrix ``G`` and its mean diagonal ``T``,

    .. math:: \Delta = V^T (G + \lambda T I)^{-1} y

    and the query turns towards the part of it that is orthogonal to the query. There is no learning
    rate and no number of steps, and scaling the scores, the passage vectors or the query changes
    nothing.

    A reranker may be wrong, so the angle is multiplied by a trust between 0 and 1. It comes from
    two statistics that are about normal around 0 for an order that is unrelated to the passages:
    the correlation of the reranker's scores with the retriever's (which refuses a reversed order),
    and the smoothness of the scores over the vectors, ``y^T G y``.

    Args:
        degrees: The angle, between 0 and 90.
        smoothing: ``lambda``. Higher values trust single passages less.
        doubt: The sum of both statistics up to which the query is not turned; the trust rises from
            0 there to 1 at ``doubt + 1``. None to trust every reranker.

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
        trust: FloatArray = np.ones(len(feedback))
        if self.doubt is not None:
            trust = _trust(y, agreement, gram, spread, n, self.doubt)
        weights = _solved(gram, self.smoothing * spread, y)
        aside = _aside(queries, (weights[:, None] @ centred)[:, 0])
        angle = np.where(np.any(aside, axis=1), np.radians(self.degrees * trust), 0.0)[:, None]
        # Angles are in double precision.
        moved = (np.cos(angle) * queries + np.sin(angle) * aside).astype(queries.dtype)
        after = _agreement(y, _products(centred, (moved / length).astype(y.dtype)), n)
        checks = zip(spread.tolist(), trust.tolist(), np.any(aside, axis=1).tolist(), strict=True)
        reasons = tuple(
            SAME_VECTORS if not s else UNTRUSTED if not t else "" if a else ALONG
            for s, t, a in checks
        )
        return Moved(moved, 1 - agreement, 1 - after, trust, reasons)


def trust_of(feedback: Feedback, gram: FloatArray, doubt: float) -> FloatArray:
    """The trust of `Turn` where passages are compared by something else than their vectors.

    Args:
        feedback: A batch whose vectors are the retriever's own scores, and whose queries are 1:
            shapes ``(batch, n, 1)`` and ``(batch, 1)``.
        gram: The inner products of the centred passages, shape ``(batch, n, n)``.
        doubt: See `Turn`.

    Returns:
        Shape ``(batch,)``, from 0 to 1.
    """
    n = np.maximum(feedback.count[:, 0], 2)
    y = feedback.target()
    agreement = _agreement(y, _products(_centred(feedback)[0], feedback.queries), n)
    return _trust(y, agreement, gram, np.einsum("bii->b", gram) / n, n, doubt)


def _trust(
    y: FloatArray,
    agreement: FloatArray,
    gram: FloatArray,
    spread: FloatArray,
    n: Any,
    doubt: float,
) -> FloatArray:
    # The correlation with a random permutation has mean 0 and variance 1 / (n - 1).
    evidence = agreement * np.sqrt(n - 1) + _coherence(gram, y, spread, n)
    found: FloatArray = np.minimum(np.maximum(evidence - doubt, 0), 1) * (agreement > 0)
    return found


def _products(passages: FloatArray, queries: FloatArray) -> FloatArray:
    found: FloatArray = (passages @ queries[..., None])[..., 0]
    return found


def _centred(feedback: Feedback) -> tuple[FloatArray, FloatArray]:
    """Passage vectors minus their mean, and their mean square length that rounding can explain.

    Zeros where there is no vector.
    """
    # The bound: equal vectors should become zeros, but the mean of coordinates of size s is off by
    # some eps s (machine epsilon; the factor 16 covers the error of the sum). Each of d coordinates
    # may so be off by 16 eps s, and the square of a row's length by d (16 eps s)^2.
    passages = feedback.passages
    # No copy is made here: reading the vectors takes most of the time.
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
    """Correlate the target with the queries' own (centred) scores: from -1 to 1."""
    length = np.sqrt(dots(scores, scores)[:, 0] * n)
    found: FloatArray = dots(y, scores)[:, 0] / np.where(length > 0, length, 1)
    return found


def _solved(gram: FloatArray, ridge: FloatArray, y: FloatArray) -> FloatArray:
    """Regression weights of the passages; zeros if all passages are the same."""
    regular = gram.copy()
    diagonal = np.einsum("bii->bi", regular)  # a view
    diagonal += np.where(ridge > 0, ridge, 1.0)[:, None].astype(gram.dtype)
    return np.linalg.solve(regular, y[..., None])[..., 0]


def _coherence(gram: FloatArray, y: FloatArray, spread: FloatArray, n: Any) -> FloatArray:
    """Measure how smooth ``y`` is over the vectors, in standard deviations of a random order.

    Derivation: ``y`` has mean 0 and mean square 1, so a random permutation of it has
    ``E[y_i^2] = 1`` and ``E[y_i y_j] = -1 / (n - 1)``. The vectors are centred, so each row of
    ``G`` sums to 0 and its elements off the diagonal to ``-G_ii``. Both together give
    ``E[y^T G y] = trace(G) n / (n - 1)``. For many passages the elements of ``y`` are nearly
    independent, and a quadratic form of independent normal numbers has the variance
    ``2 trace(G^2)``, which is twice the sum of the squared elements of ``G``. Both are divided by
    the trace here.
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
    """The vectors' part orthogonal to the queries, as long as those; zeros if there is none."""
    square = dots(queries, queries)
    aside = towards - dots(towards, queries) / np.where(square > 0, square, 1.0) * queries
    size = np.sqrt(dots(aside, aside))
    rounding = np.sqrt(np.finfo(aside.dtype).eps * dots(towards, towards))
    factor = np.where(size > rounding, np.sqrt(square), 0.0) / np.where(size > 0, size, 1.0)
    found: FloatArray = aside * factor
    return found
