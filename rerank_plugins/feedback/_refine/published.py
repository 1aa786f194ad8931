"""`Refit` and `First`: the published recipes, by gradient descent on their losses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np

from ..._checks import at_least
from ...errors import InputError
from .opinion import EQUAL, FEW, Feedback, FloatArray
from .turn import Moved

Objective = Callable[[FloatArray], tuple[float, FloatArray]]

OVERFLOWN = "the vectors or scores are too large or too small for this method"
FLAT = "the retriever gave every passage the same score"


def adam(objective: Objective, start: FloatArray, *, rate: float, steps: int) -> FloatArray:
    """Minimise an objective by Adam: a fixed number of updates, each with all of the data.

    Betas are .9 and .999, epsilon is 1e-8, and there is no weight decay: PyTorch's defaults.

    Args:
        objective: Gives the loss at a vector and its gradient.
        start: Where to start, shape ``(dim,)``.
        rate: The learning rate. A first step changes every coordinate by about this much,
            whatever the size of the gradient.
        steps: How many updates.

    References:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980.

    Examples:
        >>> nearest = adam(lambda x: (float(x @ x), 2 * x), np.ones(2), rate=0.1, steps=200)
        >>> bool(np.abs(nearest).max() < 0.01)
        True
    """
    return next(islice(adam_steps(objective, start, rate=rate), steps - 1, None))


def adam_steps(objective: Objective, start: FloatArray, *, rate: float) -> Iterator[FloatArray]:
    """The vectors of `adam` after each of its updates, without an end."""
    vector = start.copy()
    mean, square = np.zeros_like(start), np.zeros_like(start)
    for step in count(1):
        _, gradient = objective(vector)
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient * gradient - square)
        size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        vector = vector - rate / (1 - 0.9**step) * mean / size
        yield vector


def softmax_kl(
    query: FloatArray, passages: FloatArray, target: FloatArray, scale: float = 1.0
) -> tuple[float, FloatArray]:
    r"""KL divergence from a reranker's distribution to the query's own.

    .. math:: L(q) = \sum_i p_i (\log p_i - \log r_i), \quad r = \mathrm{softmax}(a V q)

    Args:
        query: The query vector ``q``, shape ``(dim,)``.
        passages: One passage vector per row, ``V``, shape ``(n, dim)``.
        target: The reranker's distribution ``p``, shape ``(n,)``: not negative, sums to 1. Zeros
            are allowed (``0 log 0 = 0``).
        scale: ``a``, by which inner products are multiplied before the softmax.

    Returns:
        The divergence in nats and its gradient with respect to ``q``, shape ``(dim,)``.

    Raises:
        InputError: The shapes disagree or ``target`` is not a distribution.

    References:
        Reddy et al., ReFIT: Relevance Feedback from a Reranker during Inference, arXiv:2305.11744.

    Examples:
        >>> loss, gradient = softmax_kl(np.zeros(2), np.eye(2), np.array([1.0, 0.0]))
        >>> round(loss, 4), gradient.round(2).tolist()
        (0.6931, [-0.5, 0.5])
    """
    _check_shapes(query, passages, target)
    if (target < 0).any() or not np.isclose(target.sum(), 1.0):
        raise InputError(f"the target is not a distribution: it sums to {target.sum():g}")
    logits = scale * (passages @ query)
    log_r = logits - np.logaddexp.reduce(logits)
    support = target > 0
    loss = float(target[support] @ (np.log(target[support]) - log_r[support]))
    return loss, scale * (np.exp(log_r) - target) @ passages


def weighted_ranknet(
    query: FloatArray, passages: FloatArray, ranks: FloatArray, scale: float = 1.0
) -> tuple[float, FloatArray]:
    r"""RankNet with the weights of FIRST, for a reranker of which only the order is known.

    .. math::
        L(q) = \frac{1}{P} \sum_{r_i < r_j} \frac{\log(1 + e^{-(s_i - s_j)})}{r_i + r_j},
        \quad s = a V q

    with ``P`` the number of such pairs. Passages of equal rank make no pair.

    Args:
        query: The query vector ``q``, shape ``(dim,)``.
        passages: One passage vector per row, ``V``, shape ``(n, dim)``.
        ranks: The reranker's ranks ``r``, shape ``(n,)``: 1 is the best.
        scale: ``a``, by which inner products are multiplied.

    Returns:
        The loss and its gradient with respect to ``q``, shape ``(dim,)``; zeros without a pair.

    Raises:
        InputError: The shapes disagree.

    References:
        Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
        arXiv:2406.15657.

    Examples:
        >>> loss, gradient = weighted_ranknet(np.zeros(2), np.eye(2), np.array([1.0, 2.0]))
        >>> round(loss, 4), gradient.round(3).tolist()
        (0.231, [-0.167, 0.167])
    """
    _check_shapes(query, passages, ranks)
    better = ranks[:, None] < ranks[None, :]
    pairs = int(better.sum())
    if not pairs:
        return 0.0, np.zeros_like(query)
    scores = scale * (passages @ query)
    gaps = scores[:, None] - scores[None, :]
    weights = better / (ranks[:, None] + ranks[None, :]) / pairs
    loss = float((weights * np.logaddexp(0.0, -gaps)).sum())
    pull = weights / (1.0 + np.exp(np.minimum(gaps, 700.0)))  # d log(1 + e^-gap) = -sigma(-gap)
    return loss, scale * (pull.sum(axis=0) - pull.sum(axis=1)) @ passages


def _check_shapes(query: FloatArray, passages: FloatArray, target: FloatArray) -> None:
    if query.ndim != 1 or passages.shape != (len(target), len(query)):
        raise InputError(
            f"passages has shape {passages.shape}, expected {(len(target), len(query))}"
        )


def _check_descent(rate: float, steps: int) -> None:
    if not 0 < rate < np.inf:
        raise InputError(f"rate is {rate}, expected a positive number")
    at_least(1, steps=steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """ReFIT, as published and as in FIRST's code: minimise a KL divergence by Adam.

    The reranker's distribution is the softmax of its raw scores; the query's is the softmax of
    its inner products, scaled once so that they span half of the range of the reranker's scores.
    Give logits: probabilities and grades make a flat distribution. Passages without a score are
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
        _check_descent(self.rate, self.steps)

    def move(self, feedback: Feedback) -> Moved:
        """Descend for each query."""
        if feedback.scores is None:
            raise InputError(
                "refit needs scores", hint='An order alone is for method="first" or "safe".'
            )
        return each_query(feedback, self._move)

    def _move(self, query: FloatArray, part: "Part") -> "Found":
        assert part.scores is not None  # noqa: S101 - checked by `move`
        scale = _half_range(np.ptp(part.scores), part.passages @ query)
        if scale is None:
            return FLAT
        exponentials = np.exp(part.scores - part.scores.max())
        target = exponentials / exponentials.sum()
        objective = partial(softmax_kl, passages=part.passages, target=target, scale=scale)
        moved = adam(objective, query, rate=self.rate, steps=self.steps)
        return moved, objective(query)[0], objective(moved)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """FIRST's two stages, as published: `Refit` on a cross-encoder, weighted RankNet on an LLM.

    The LLM contributes its order; the scores that set the scale are the retriever's own, assigned
    along that order, as in the authors' run files. If both scores and an order are given, the
    scores are a cross-encoder's and come first. With only one of them, there is only the second
    stage.

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
        _check_descent(self.rate, self.steps)
        if not isinstance(self.cross_encoder, Refit):
            raise InputError(f"cross_encoder is {self.cross_encoder!r}, expected Refit(...)")

    def move(self, feedback: Feedback) -> Moved:
        """Descend for each query."""
        return each_query(feedback, self._move)

    def _move(self, query: FloatArray, part: "Part") -> "Found":
        spread = np.ptp(part.passages @ query)  # of the retriever's scores
        start = query
        if part.scores is not None and part.both:
            first = self.cross_encoder._move(query, part)
            start = query if isinstance(first, str) else first[0]
        scale = _half_range(spread, part.passages @ start)
        if scale is None:
            return FLAT
        objective = partial(weighted_ranknet, passages=part.passages, ranks=part.ranks, scale=scale)
        moved = adam(objective, start, rate=self.rate, steps=self.steps)
        return moved, objective(query)[0], objective(moved)[0]


class Part(NamedTuple):
    """The passages of one query that have a vector and a rank."""

    passages: FloatArray
    ranks: FloatArray
    scores: FloatArray | None
    both: bool


Found = tuple[FloatArray, float, float] | str
"""A new query vector with the losses before and after, or why there is none."""


def each_query(feedback: Feedback, move: Callable[[FloatArray, Part], Found]) -> Moved:
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
        part = Part(
            feedback.passages[i][known].astype(np.float64),
            feedback.ordered[i][known],
            None if feedback.scores is None else feedback.scores[i][known],
            feedback.both,
        )
        if len(part.ranks) < 2 or np.ptp(part.ranks) == 0:
            skipped[i] = EQUAL if len(part.ranks) > 1 else FEW
            continue
        found = move(query, part)
        if isinstance(found, str):
            skipped[i] = found
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
