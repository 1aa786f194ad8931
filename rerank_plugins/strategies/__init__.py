"""Ranking algorithms, each written once: plans of calls that any backend can answer."""

from .combine import Blend, KeepOrder
from .listwise import Permutation, SingleToken
from .pointwise import QueryLikelihood
from .windows import SlidingWindow, windows

__all__ = [
    "Blend",
    "KeepOrder",
    "Permutation",
    "QueryLikelihood",
    "SingleToken",
    "SlidingWindow",
    "windows",
]
