"""One number from 0 to 1 for every kind of score, as clients of rerank services expect."""

import math

from ..ranking import ScoreKind


def relevance(score: float, kind: ScoreKind) -> float:
    """A score as a number from 0 to 1 that never falls when the score rises.

    A function of the score alone, so that numbers of different requests can be compared as far as
    the scores themselves can:

    ============  ======================================================================
    logit         the logistic function, as cross-encoders are read
    logprob       the probability; for query likelihoods, that of a token on average
    probability   itself
    z-score       the logistic function: comparable within a request alone
    grade         ``g / (1 + g)``: no scale is known to all prompts, so only the order counts
    rank          itself: 1, 1/2, 1/3, ... the order and nothing more
    ============  ======================================================================

    Different scores may become equal at the ends of the range, where floats end.

    Examples:
        >>> relevance(0.0, "logit"), relevance(0.0, "logprob"), relevance(3.0, "grade")
        (0.5, 1.0, 0.75)
    """
    if kind in ("logit", "z-score"):
        return _logistic(score)
    if kind == "logprob":
        return math.exp(min(score, 0.0))
    if kind == "grade":
        return max(score, 0.0) / (1.0 + max(score, 0.0))
    return min(max(score, 0.0), 1.0)


def _logistic(x: float) -> float:
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))  # the other form overflows
