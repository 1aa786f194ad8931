"""Skills as normal distributions, and what an order says about them (TrueSkill)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SWEEPS = 100
"""The most times that messages go down and up an order; a few are enough."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A belief about one skill: a normal distribution with this mean and standard deviation."""

    mean: float = 25.0
    deviation: float = 25.0 / 3.0

    def above(self, threshold: float) -> float:
        """The probability that the skill is above ``threshold``."""
        return _cumulative((self.mean - threshold) / self.deviation)


def updated(best_first: Sequence[Rating], noise: float = 25.0 / 6.0) -> list[Rating]:
    """The ratings after an order was seen, best first.

    Each skill shows as a performance with a normal error, and each performance was better than the
    next one's. The posterior is that of expectation propagation along the chain of neighbours, as
    in TrueSkill for players without teams and without draws.

    Args:
        best_first: The ratings in the order that was seen.
        noise: The standard deviation of a performance around its skill.

    References:
        Herbrich, Minka and Graepel, TrueSkill: A Bayesian Skill Rating System, NIPS 2006.

    Examples:
        >>> winner, loser = updated([Rating(), Rating()])
        >>> round(winner.mean, 3), round(loser.mean, 3), round(winner.deviation, 3)
        (29.205, 20.795, 7.194)
    """
    # Normal distributions as (precision, precision times mean): they multiply by addition.
    seen = [1.0 / (rating.deviation**2 + noise**2) for rating in best_first]
    prior = [(p, p * rating.mean) for p, rating in zip(seen, best_first, strict=True)]
    n = len(prior)
    from_above, from_below = [(0.0, 0.0)] * n, [(0.0, 0.0)] * n
    for _ in range(SWEEPS):
        change = 0.0
        for k in (*range(n - 1), *reversed(range(n - 1))):
            below, above = _better(
                _product(prior[k], from_above[k]), _product(prior[k + 1], from_below[k + 1])
            )
            change = max(
                change, abs(below[1] - from_below[k][1]), abs(above[1] - from_above[k + 1][1])
            )
            from_below[k], from_above[k + 1] = below, above
        if change < 1e-9:
            break
    found = []
    for rating, over, under in zip(best_first, from_above, from_below, strict=True):
        precision, weighted = _product(over, under)
        if precision > 0:  # what the performance says about the skill, less sure by the noise
            spread = 1.0 / (1.0 / precision + noise**2)
            told = (spread, spread * weighted / precision)
            known = 1.0 / rating.deviation**2
            total, mean = _product((known, known * rating.mean), told)
            rating = Rating(mean / total, math.sqrt(1.0 / total))
        found.append(rating)
    return found


def threshold_of(ratings: Sequence[Rating], wanted: float) -> float:
    """The skill that ``wanted`` of them are expected to be above, found by halving.

    Examples:
        >>> round(threshold_of([Rating(10.0, 1.0), Rating(20.0, 1.0)], 1.0), 6)
        15.0
    """
    reach = 10.0 * max(rating.deviation for rating in ratings)
    low = min(rating.mean for rating in ratings) - reach
    high = max(rating.mean for rating in ratings) + reach
    for _ in range(60):
        middle = (low + high) / 2.0
        if sum(rating.above(middle) for rating in ratings) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


Normal = tuple[float, float]


def _product(one: Normal, other: Normal) -> Normal:
    return one[0] + other[0], one[1] + other[1]


def _better(winner: Normal, loser: Normal) -> tuple[Normal, Normal]:
    """Tell two performances that the first is the better one: a message to each."""
    spread_winner, spread_loser = 1.0 / winner[0], 1.0 / loser[0]
    mean_winner, mean_loser = winner[1] * spread_winner, loser[1] * spread_loser
    variance, mean = spread_winner + spread_loser, mean_winner - mean_loser
    t = mean / math.sqrt(variance)
    chance = _cumulative(t)
    # The density over the cumulative probability; far out both underflow, and it is nearly -t.
    v = math.exp(-t * t / 2.0) / math.sqrt(2.0 * math.pi) / chance if chance > 1e-300 else -t
    w = min(max(v * (v + t), 1e-9), 1.0 - 1e-9)
    # The difference of the two, above 0: its moments, divided by what was known before.
    precision = 1.0 / (variance * (1.0 - w)) - 1.0 / variance
    weighted = (mean + math.sqrt(variance) * v) / (variance * (1.0 - w)) - mean / variance
    told, told_spread = weighted / precision, 1.0 / precision
    to_winner, to_loser = 1.0 / (told_spread + spread_loser), 1.0 / (told_spread + spread_winner)
    return (
        (to_winner, to_winner * (mean_loser + told)),
        (to_loser, to_loser * (mean_winner - told)),
    )


def _cumulative(x: float) -> float:
    """The probability that a standard normal variable is below ``x``."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
