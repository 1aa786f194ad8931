"""Probabilities of relevance: fitted to judgements, and judged by others."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from .._checks import at_least
from ..errors import InputError
from ..ranking import Ranking
from ..text import Passage, in_known_order

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.float64]"

OFFSETS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""The values of `Probabilities.k` that a fit tries."""
_RIDGE = 1e-6
"""Weight of the squared coefficients for each passage: what keeps equal columns apart."""
_LARGEST = 1e100
"""The largest score that is fitted: squares of larger ones have no sum in floating point."""
_KINDS = ("logit", "logprob", "probability", "similarity", "grade")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredList:
    """The passages of one query, scored and judged.

    Args:
        scores: A score of each passage, in the order of the first stage.
        relevant: Whether each is relevant.
        placed: Whether that order is known to be the first stage's, so that places count.

    Raises:
        InputError: The numbers of both differ, or a score is not finite or beyond 1e100.
    """

    scores: tuple[float, ...]
    relevant: tuple[bool, ...]
    placed: bool = False

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.relevant):
            raise InputError(f"{len(self.scores)} scores for {len(self.relevant)} judgements")
        if not all(map(math.isfinite, self.scores)):
            raise InputError("a score is not a finite number", hint="Leave out that query.")
        if (most := max(map(abs, self.scores), default=0.0)) > _LARGEST:
            raise InputError(
                f"a score is {most:g} from 0, expected at most {_LARGEST:g}",
                hint="Check the model's scores, or leave out that query.",
            )

    @classmethod
    def of(
        cls, ranking: Ranking, passages: Sequence[str], relevant: Sequence[bool]
    ) -> "ScoredList":
        """The list of a ranking.

        Args:
            ranking: The ranking of all passages.
            passages: The passages as they were ranked.
            relevant: Whether each of them is relevant.

        Raises:
            InputError: The scores of the ranking compare within one list alone.

        Examples:
            >>> found = Ranking((1, 0), (2.0, -1.0), "logit")
            >>> ScoredList.of(found, ["a dog", "a flea"], [False, True]).scores
            (-1.0, 2.0)
        """
        if ranking.score_kind not in _KINDS:
            by_place = ranking.score_kind == "rank"
            kind = "only number the places" if by_place else "compare within one list alone"
            raise InputError(
                f"these scores {kind}: they say nothing about another query's passages",
                hint="Calibrate a strategy that scores passages one at a time: pair-score, "
                "pointwise, query-likelihood.",
            )
        own = dict(zip(ranking.order, ranking.scores, strict=True))
        return cls(
            scores=tuple(own[i] for i in range(len(own))),
            relevant=tuple(map(bool, relevant)),
            placed=in_known_order(Passage.all_of(passages)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Probabilities:
    """The numbers of a `rerank_plugins.strategies.Calibrated`, as fitted to judgements.

    Attributes:
        slope: See `rerank_plugins.strategies.Calibrated`, like the others.
        intercept: The log-odds at a score of 0.
        places: The weight of places.
        k: A constant added to each place.
        unplaced: What stands for a place where there is none.
    """

    slope: float
    intercept: float
    places: float = 0.0
    k: float = 2.0
    unplaced: float = 0.0

    def of(self, one: ScoredList) -> Array:
        """The probability of each passage of a list.

        Examples:
            >>> found = ScoredList(scores=(0.0, 2.0), relevant=(False, True))
            >>> Probabilities(slope=1.0, intercept=-1.0).of(found).round(3)
            array([0.269, 0.731])
        """
        return _logistic(self.odds(one))

    def odds(self, one: ScoredList) -> Array:
        """The log-odds of each passage of a list."""
        import numpy as np

        places = self.places / (self.k + _places(one)) if one.placed else self.unplaced
        found: Array = self.slope * np.array(one.scores) + self.intercept + places
        return found


SCORES_ALONE = Probabilities(slope=1.0, intercept=0.0)
"""The order of scores: places do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """The truth of probabilities, by judgements.

    Attributes:
        passages: The number of passages.
        relevant: The share of them that is relevant.
        mean: The mean probability.
        brier: The Brier score.
        error: The expected calibration error, over ten bins.
    """

    passages: int
    relevant: float
    mean: float
    brier: float
    error: float

    @classmethod
    def of(
        cls, probabilities: "Sequence[float] | Array", relevant: Sequence[bool]
    ) -> "Reliability":
        """Judge probabilities. Arguments and errors are those of `brier_score`."""
        import numpy as np

        return cls(
            passages=len(relevant),
            relevant=float(np.mean(relevant)),
            mean=float(np.mean(probabilities)),
            brier=brier_score(probabilities, relevant),
            error=calibration_error(probabilities, relevant),
        )

    @property
    def constant(self) -> float:
        """The Brier score of giving every passage the share that is relevant."""
        return self.relevant * (1 - self.relevant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Probabilities fitted to all queries, and judged on queries that they were not fitted to.

    Attributes:
        fitted: The numbers, from all queries.
        held_out: Of each list, the probabilities by the numbers of the other folds.
        after: Their reliability.
        unplaced: The same of the lists as if their passages had no scores of a first stage; None
            where places do not count.
    """

    fitted: Probabilities
    held_out: tuple[Array, ...]
    after: Reliability
    unplaced: Reliability | None


def brier_score(probabilities: "Sequence[float] | Array", relevant: Sequence[bool]) -> float:
    """The mean squared difference between probabilities and judgements: 0 is perfect.

    Args:
        probabilities: From 0 to 1.
        relevant: Whether each passage is relevant.

    Raises:
        InputError: There are none, their numbers differ, or one is not from 0 to 1.

    References:
        Brier, Verification of forecasts expressed in terms of probability, 1950.

    Examples:
        >>> brier_score([1.0, 0.5], [True, False])
        0.125
    """
    import numpy as np

    p, y = _checked(probabilities, relevant)
    return float(np.mean((p - y) ** 2))


def calibration_error(
    probabilities: "Sequence[float] | Array", relevant: Sequence[bool], *, bins: int = 10
) -> float:
    """The expected calibration error: how far probabilities are from shares, bin by bin.

    Probabilities go into bins of equal width; of each, the difference between its mean probability
    and its share of relevant passages counts by its share of all passages.

    Args:
        probabilities: From 0 to 1.
        relevant: Whether each passage is relevant.
        bins: The number of bins, at least 1.

    Raises:
        InputError: See `brier_score`; or ``bins`` is out of range.

    References:
        Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian
        binning, AAAI 2015.

    Examples:
        >>> calibration_error([0.75, 0.75, 0.25, 0.25], [True, True, True, False])
        0.25
    """
    import numpy as np

    at_least(1, bins=bins)
    p, y = _checked(probabilities, relevant)
    number = np.minimum((bins * p).astype(int), bins - 1)
    difference = np.bincount(number, p - y, bins)
    return float(np.abs(difference).sum() / len(p))


def fit_probabilities(
    lists: Sequence[ScoredList], *, order: Probabilities | None = SCORES_ALONE
) -> Probabilities:
    """Fit probabilities to judgements, by Platt's logistic regression.

    Its targets are not 1 and 0 but ``(n + 1) / (n + 2)`` and ``1 / (m + 2)``, of n relevant and m
    other passages, which keeps the numbers finite where scores separate both. Where places count,
    ``unplaced`` is then fitted to the same lists without their places.

    Args:
        lists: At least one, with relevant passages and others.
        order: The numbers whose order stays: what a score counts beside a place. By default scores
            alone count. None fits the weight of places too, with the offset of `OFFSETS` that fits
            best, which may change the order of lists that are in a first stage's order; places
            that would count against relevance are left out.

    Raises:
        InputError: All passages are relevant or none is, all scores are equal, or better scores go
            with less relevance.

    References:
        Platt, Probabilistic outputs for support vector machines, 1999; Lin, Lin and Weng, A note on
        Platt's probabilistic outputs for support vector machines, Machine Learning 68, 2007.

    Examples:
        >>> lists = [ScoredList(scores=(2.0, 1.0, 0.0), relevant=(True, False, False))] * 20
        >>> found = fit_probabilities(lists)
        >>> found.of(lists[0]).round(2)
        array([0.93, 0.07, 0.  ])
    """
    _check_judgements(lists)
    placed = [one for one in lists if one.placed]
    if order != SCORES_ALONE and len({*_judgements(placed)}) == 2:
        tried = [_fit_placed(placed, k) for k in OFFSETS] if order is None else []
        found = _fit_order(placed, order) if order else min(tried, key=lambda one: one[0])[1]
        if found.slope > 0 and found.places > 0:
            return replace(found, unplaced=_fit_unplaced(found, lists))
    found = _fit_order([replace(one, placed=False) for one in lists], SCORES_ALONE)
    if found.slope <= 0:
        raise InputError(
            "passages with better scores are not more often relevant, so the scores say nothing",
            hint="Check that the run and the judgements are of this collection.",
        )
    return found


def calibrate(
    lists: Sequence[ScoredList],
    *,
    folds: int = 5,
    seed: int = 0,
    order: Probabilities | None = SCORES_ALONE,
) -> Calibration:
    """Fit probabilities to all queries, and judge them by folds of queries that are held out.

    Args:
        lists: One for each query.
        folds: The number of folds, at least 2. Each holds two queries or more.
        seed: Of the division into folds.
        order: See `fit_probabilities`.

    Raises:
        InputError: There are too few queries, or see `fit_probabilities`.

    Examples:
        >>> lists = [ScoredList(scores=(2.0, 1.0, 0.0), relevant=(True, False, False))] * 20
        >>> calibrate(lists).after.brier < 0.01
        True
    """
    import numpy as np

    at_least(2, folds=folds)
    if len(lists) < 2 * folds:
        raise InputError(
            f"{len(lists)} judged queries are too few for {folds} folds",
            hint=f"Judge {2 * folds} queries or more, or give fewer folds.",
        )
    fitted = fit_probabilities(lists, order=order)
    fold_of = np.random.default_rng(seed).permutation(len(lists)) % folds
    others = [[o for o, f in zip(lists, fold_of, strict=True) if f != n] for n in range(folds)]
    numbers = [fit_probabilities(held_in, order=order) for held_in in others]
    pairs = [(numbers[fold], one) for fold, one in zip(fold_of, lists, strict=True)]
    held_out = tuple(found.of(one) for found, one in pairs)
    plain = [found.of(replace(one, placed=False)) for found, one in pairs]
    relevant = list(_judgements(lists))
    return Calibration(
        fitted=fitted,
        held_out=held_out,
        after=Reliability.of(np.concatenate(held_out), relevant),
        unplaced=Reliability.of(np.concatenate(plain), relevant) if fitted.places else None,
    )


def _fit_placed(lists: Sequence[ScoredList], k: float) -> tuple[float, Probabilities]:
    """The loss and the numbers of scores and places with this offset."""
    import numpy as np

    reciprocals = np.concatenate([1 / (k + _places(one)) for one in lists])
    loss, (intercept, slope, places) = _regression([_scores(lists), reciprocals], _targets(lists))
    return loss, Probabilities(slope=slope, intercept=intercept, places=places, k=k)


def _fit_order(lists: Sequence[ScoredList], order: Probabilities) -> Probabilities:
    """The numbers that keep the order of others."""
    import numpy as np

    odds = np.concatenate([order.odds(one) for one in lists])
    _, (constant, a) = _regression([odds], _targets(lists))
    return replace(
        order,
        slope=a * order.slope,
        intercept=a * order.intercept + constant,
        places=a * order.places,
    )


def _fit_unplaced(found: Probabilities, lists: Sequence[ScoredList]) -> float:
    """The number that stands for a place, with the other numbers as they are."""
    odds = found.slope * _scores(lists) + found.intercept
    return _regression([], _targets(lists), odds)[1][0]


def _regression(
    columns: Sequence[Array], targets: Array, offset: "Array | float" = 0.0
) -> tuple[float, list[float]]:
    """Fit a logistic regression by Newton's method: its mean loss, and its coefficients.

    The first coefficient is the constant. Columns are scaled while it is fitted.
    """
    import numpy as np

    means, widths = [c.mean() for c in columns], [c.std() or 1.0 for c in columns]
    scaled = [(c - m) / w for c, m, w in zip(columns, means, widths, strict=True)]
    x = np.stack([np.ones(len(targets)), *scaled], axis=1)

    def loss(b: Array) -> float:
        odds = x @ b + offset
        return float(np.mean(np.logaddexp(0, odds) - targets * odds) + _RIDGE * b @ b / 2)

    b, current = np.zeros(x.shape[1]), math.inf
    while (now := loss(b)) < current - 1e-12:
        current, p = now, _logistic(x @ b + offset)
        slope = x.T @ (p - targets) / len(targets) + _RIDGE * b
        curve = (x * (p * (1 - p))[:, None]).T @ x / len(targets) + _RIDGE * np.eye(x.shape[1])
        step = np.linalg.solve(curve, slope)
        while loss(b - step) > now and np.abs(step).max() > 1e-12:
            step = step / 2
        b = b - step
    own = [float(v / w) for v, w in zip(b[1:], widths, strict=True)]
    constant = float(b[0]) - sum(v * float(m) for v, m in zip(own, means, strict=True))
    return current, [constant, *own]


def _check_judgements(lists: Sequence[ScoredList]) -> None:
    n, relevant = sum(len(one.scores) for one in lists), sum(_judgements(lists))
    if relevant in (0, n):
        has = "all" if n and relevant else "none"
        raise InputError(
            f"of {n} passages {has} {'are' if has == 'all' else 'is'} relevant, so there is "
            "nothing to tell apart",
            hint="Give more queries, more passages of each, or another lowest grade.",
        )
    if len({score for one in lists for score in one.scores}) == 1:
        raise InputError("all scores are equal, so they say nothing about relevance")


def _targets(lists: Sequence[ScoredList]) -> Array:
    import numpy as np

    relevant = np.array(list(_judgements(lists)))
    n, m = relevant.sum(), (~relevant).sum()
    found: Array = np.where(relevant, (n + 1) / (n + 2), 1 / (m + 2))
    return found


def _judgements(lists: Sequence[ScoredList]) -> Iterator[bool]:
    return (relevant for one in lists for relevant in one.relevant)


def _scores(lists: Sequence[ScoredList]) -> Array:
    import numpy as np

    return np.array([score for one in lists for score in one.scores])


def _places(one: ScoredList) -> Array:
    import numpy as np

    return np.arange(1, len(one.scores) + 1, dtype=float)


def _logistic(odds: Array) -> Array:
    import numpy as np

    found: Array = np.exp(-np.logaddexp(0, -odds))
    return found


def _checked(probabilities: Any, relevant: Any) -> tuple[Array, Array]:
    import numpy as np

    p, y = np.asarray(probabilities, dtype=float), np.asarray(relevant, dtype=float)
    if not len(p) or p.shape != y.shape:
        raise InputError(f"{len(p)} probabilities for {len(y)} judgements")
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("a probability is not a number from 0 to 1")
    return p, y
