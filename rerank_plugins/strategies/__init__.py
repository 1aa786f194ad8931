"""Ranking algorithms, each written once: plans of calls that any backend can answer."""

from .cascade import Cascade, Consensus
from .combine import Blend, Hybrid, KeepOrder
from .full_list import ConstrainedPermutation, FullList
from .grading import PointwiseGrade
from .groupwise import Groupwise
from .likelihood import QueryLikelihood
from .listwise import Permutation
from .pairwise import Pairwise
from .pointwise import PairScore, Pointwise
from .sampling import Sampling
from .schedules import TopDown, Tournament
from .setwise import Setwise
from .single_token import SingleToken
from .windows import SlidingWindow, windows

__all__ = [
    "Blend",
    "Cascade",
    "Consensus",
    "ConstrainedPermutation",
    "FullList",
    "Groupwise",
    "Hybrid",
    "KeepOrder",
    "PairScore",
    "Pairwise",
    "Permutation",
    "Pointwise",
    "PointwiseGrade",
    "QueryLikelihood",
    "Sampling",
    "Setwise",
    "SingleToken",
    "SlidingWindow",
    "TopDown",
    "Tournament",
    "windows",
]
