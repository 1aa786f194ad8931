"""`Feedback`: a reranker's opinion of the passages of a query, as arrays that were checked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..._checks import either
from ...errors import InputError

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
Mask: TypeAlias = npt.NDArray[np.bool_]

FEW = "fewer than two passages have both a vector and a score"
INFINITE = "a score is infinite"
EQUAL = "the reranker gave every passage the same score"
NO_QUERY = "the query vector is zero, or too small or too large to measure"


@dataclass(frozen=True, slots=True)
class Feedback:
    """A batch of queries with their passages and a reranker's opinion of those.

    Attributes:
        queries: Query vectors, shape ``(batch, dim)``, finite.
        passages: Passage vectors, shape ``(batch, n, dim)``; zeros where there is none.
        present: True for passages with a vector, shape ``(batch, n)``.
        complete: Whether all passages have one.
        count: How many have one, at least 1, shape ``(batch, 1)``.
        scores: Shape ``(batch, n)``; NaN where the reranker gave none. None if only an order is
            known.
        ordered: Ranks from 1 (best) by the given order, else by the scores, shape
            ``(batch, n)``; ties share their mean rank. NaN without a vector, an order or a score.
        ranks: Like ``ordered``, but the passages that were not reranked share the last ranks.
        both: Whether scores and an order were given.
        skipped: Why a query cannot be refined; empty where it can. Length ``batch``.
    """

    queries: FloatArray
    passages: FloatArray
    present: Mask
    complete: bool
    count: FloatArray
    scores: FloatArray | None
    ordered: FloatArray
    ranks: FloatArray
    both: bool
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, rows: slice) -> "Feedback":
        """Some of the queries."""
        return Feedback(
            queries=self.queries[rows],
            passages=self.passages[rows],
            present=self.present[rows],
            complete=self.complete,
            count=self.count[rows],
            scores=None if self.scores is None else self.scores[rows],
            ordered=self.ordered[rows],
            ranks=self.ranks[rows],
            both=self.both,
            skipped=self.skipped[rows],
        )

    def target(self) -> FloatArray:
        """Compute the scores that the query should give its passages, shape ``(batch, n)``.

        Scores of any kind are standardised, minus the logarithm of the rank is too, and so is
        their sum: scores alone lose half of the gain if they are probabilities. If only an order is
        known, the target is that logarithm. A passage without a score counts as the lowest that has
        one. Mean 0 and variance 1 over the passages with a vector, 0 for the others.
        """
        by_rank = standardised(-np.log(np.where(self.present, self.ranks, 1.0)), self)
        if self.scores is None:
            return by_rank
        known = np.isfinite(self.scores) & self.present
        scores = self.scores if known.all() else np.where(known, self.scores, 0.0)
        size = np.abs(scores).max(axis=1, keepdims=True, initial=0.0)
        scores = scores / np.where(size > 0, size, 1.0)  # the square of 1e300 is infinite
        if not known.all():
            lowest = np.where(known, scores, 1.0).min(axis=1, keepdims=True, initial=1.0)
            scores = np.where(known, scores, lowest)
        return standardised(standardised(scores, self) + by_rank, self)


def standardised(values: FloatArray, feedback: Feedback) -> FloatArray:
    """Scale each row to mean 0 and variance 1 over the passages with a vector; 0 for the others.

    A row of nearly equal values (of about 1) becomes zeros.
    """
    n = feedback.count
    if feedback.complete:
        centred = values - values.sum(axis=1, keepdims=True) / n
    else:
        mean = (values * feedback.present).sum(axis=1, keepdims=True) / n
        centred = (values - mean) * feedback.present
    spread = np.sqrt(dots(centred, centred) / n)
    found: FloatArray = centred / np.where(spread > 1e-6, spread, np.inf)
    return found


def mean_ranks(scores: FloatArray) -> FloatArray:
    """Rank each row from 1 for the highest; equal scores share their mean rank, NaN stays NaN.

    Examples:
        >>> mean_ranks(np.array([[2.0, np.nan, 5.0, 2.0]])).tolist()
        [[2.5, nan, 1.0, 2.5]]
    """
    n = scores.shape[1]
    rows = np.arange(len(scores))[:, None]
    order = np.argsort(-scores, axis=1, kind="stable")  # NaN comes last
    falling = scores[rows, order]
    places: Any = np.arange(n)
    differs = falling[:, 1:] != falling[:, :-1]
    if n and not differs.all():  # a run of ties from its first place to its last
        edge = np.ones((len(scores), 1), dtype=bool)
        first = np.where(np.hstack([edge, differs]), places, 0)
        last = np.where(np.hstack([differs, edge]), places, n - 1)
        first = np.maximum.accumulate(first, axis=1)
        places = (first + np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]) / 2
    ranks = np.empty(scores.shape)
    ranks[rows, order] = places + 1
    ranks[np.isnan(scores)] = np.nan
    return ranks


def dots(one: FloatArray, other: FloatArray) -> FloatArray:
    """The inner product of each pair of rows, shape ``(rows, 1)``."""
    found: FloatArray = np.einsum("ij,ij->i", one, other)[:, None]
    return found


def read_feedback(query: Any, passages: Any, scores: Any, order: Any) -> Feedback:
    """Check the arguments of `refine_query`, and make a batch of them.

    Raises:
        InputError: Shapes disagree, the query is not finite, or there is neither a score nor an
            order.
    """
    queries, vectors = _batch(query, passages)
    if scores is None and order is None:
        raise InputError("there is nothing to learn from", hint="Give scores, an order, or both.")
    if np.ndim(query) == 1:
        scores, order = (None if given is None else [given] for given in (scores, order))
    shape = vectors.shape[:2]
    table = None if scores is None else _array("scores", scores, (2,)).astype(np.float64)
    if table is not None and table.shape != shape:
        raise InputError(f"scores has shape {table.shape}, expected {shape}")
    falling = _by_order(order, shape) if table is None or order is not None else table
    present = np.all(np.isfinite(vectors), axis=2)
    complete = bool(present.all())
    if not complete:
        vectors = np.where(present[..., None], vectors, 0).astype(vectors.dtype)
    ordered = np.where(present, mean_ranks(falling), np.nan)
    return Feedback(
        queries=queries,
        passages=vectors,
        present=present,
        complete=complete,
        count=np.maximum(present.sum(axis=1, keepdims=True), 1.0),
        scores=table,
        ordered=ordered,
        ranks=_completed(ordered, present),
        both=table is not None and order is not None,
        skipped=_reasons(queries, present, ordered, table),
    )


def _batch(query: Any, passages: Any) -> tuple[FloatArray, FloatArray]:
    """Query vectors, shape ``(batch, dim)``, and their passages' vectors, ``(batch, n, dim)``."""
    queries = _array("the query", query, (1, 2))
    vectors = _array("passages", passages, (queries.ndim + 1,))
    if queries.ndim == 1:
        queries, vectors = queries[None], vectors[None]
    if vectors.shape[0] != len(queries) or vectors.shape[2] != queries.shape[1]:
        raise InputError(
            f"passages has shape {vectors.shape}, which does not go with "
            f"{len(queries)} queries of {queries.shape[1]} dimensions"
        )
    if not np.isfinite(queries).all():
        raise InputError("the query vector holds values that are not finite")
    return queries, vectors


def _array(name: str, values: Any, dimensions: tuple[int, ...]) -> FloatArray:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise InputError(f"{name} holds {array.dtype.name} and not real numbers")
        if array.dtype != np.float32:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be read as numbers: {error}") from error
    if array.ndim not in dimensions:
        raise InputError(
            f"{name} has shape {array.shape}, expected {either(dimensions)} dimensions"
        )
    return array


def _by_order(orders: Any, shape: tuple[int, ...]) -> FloatArray:
    """Numbers that fall along each order; NaN for the passages that it leaves out."""
    falling = np.full(shape, np.nan)
    orders = [_listed(order) for order in _listed(orders)]
    if len(orders) != shape[0]:
        raise InputError(f"there are {len(orders)} orders for {shape[0]} queries")
    for row, order in zip(falling, orders, strict=True):
        if not order:
            continue
        places = np.asarray(order)
        whole = places.ndim == 1 and places.dtype.kind in "iu"
        if (
            not whole
            or len(set(places.tolist())) < len(places)
            or not 0 <= places.min() <= places.max() < shape[1]
        ):
            raise InputError(
                f"the order is not one of {shape[1]} passages: a position repeats, is out of range "
                "or is not an integer"
            )
        row[places] = -np.arange(float(len(order)))
    return falling


def _listed(values: Any) -> list[Any]:
    if not isinstance(values, Iterable):
        raise InputError(f"the order is of type {type(values).__name__}, expected positions")
    return list(values)


def _completed(known: FloatArray, present: Mask) -> FloatArray:
    """Fill gaps in ranks: the passages that have none share the last."""
    below = present & np.isnan(known)
    if (present & ~below).all():
        return known
    ranks = mean_ranks(-known)
    n = below.sum(axis=1, keepdims=True)
    shared = (present.sum(axis=1, keepdims=True) - n) + (n + 1) / 2
    return np.where(below, shared, ranks)


def _reasons(
    queries: FloatArray, present: Mask, ordered: FloatArray, scores: FloatArray | None
) -> tuple[str, ...]:
    """For each query, the reason why it cannot be refined; empty if it can."""
    known = ~np.isnan(ordered)
    n = known.sum(axis=1)
    # The mean of the ranks 1 to n is (n + 1) / 2. If all are tied, that is the highest, too.
    tied = np.where(known, ordered, 0).max(axis=1, initial=0) * 2 == n + 1
    infinite = (
        np.zeros(len(n), bool) if scores is None else (np.isinf(scores) & present).any(axis=1)
    )
    with np.errstate(over="ignore", under="ignore"):
        square = dots(queries, queries)[:, 0]
    unmeasured = (square == 0) | np.isinf(square)
    checks = (
        (infinite, INFINITE),
        (n < 2, FEW),
        (unmeasured, NO_QUERY),
        (tied & (n == present.sum(axis=1)), EQUAL),
    )
    reasons = [""] * len(queries)
    if not any(failed.any() for failed, _ in checks):
        return tuple(reasons)
    for failed, reason in reversed(checks):  # the first reason overwrites the others
        for i in np.flatnonzero(failed):
            reasons[i] = reason
    return tuple(reasons)
