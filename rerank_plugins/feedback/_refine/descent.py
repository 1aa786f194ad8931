"""Adam, for one vector."""

from collections.abc import Callable

import numpy as np

from ...errors import InputError
from .objectives import FloatArray

Objective = Callable[[FloatArray], tuple[float, FloatArray]]


def adam(objective: Objective, start: FloatArray, *, rate: float, steps: int) -> FloatArray:
    """The vector after a fixed number of updates with all of the data, from ``start``.

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
    vector = start.copy()
    mean, square = np.zeros_like(start), np.zeros_like(start)
    for step in range(1, steps + 1):
        _, gradient = objective(vector)
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient * gradient - square)
        size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        vector -= rate / (1 - 0.9**step) * mean / size
    return vector


def check_descent(rate: float, steps: int) -> None:
    """Refuse constants with which nothing descends.

    Raises:
        InputError: The rate or the number of steps is not positive.
    """
    if not 0 < rate < np.inf:
        raise InputError(f"rate is {rate}, expected a positive number")
    whole: object = steps  # what a configuration file says may be anything
    if not isinstance(whole, int) or steps < 1:
        raise InputError(f"steps is {steps}, expected at least 1")
