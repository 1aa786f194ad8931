"""Ranking algorithms, each written once: plans of calls that any backend can answer."""

from ._cascade import Cascade, Consensus
from ._combine import Blend, Hybrid
from ._full_list import ConstrainedPermutation, FullList, Read
from ._grading import PointwiseGrade
from ._groupwise import Groupwise
from ._keep_order import KeepOrder
from ._likelihood import QueryLikelihood
from ._listwise import Permutation
from ._pairwise import Pairwise
from ._pointwise import PairScore, Pointwise
from ._sampling import Sampling
from ._schedules import TopDown, Tournament
from ._setwise import Setwise
from ._single_token import Policy, SingleToken
from ._windows import SlidingWindow, windows

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
    "Policy",
    "QueryLikelihood",
    "Read",
    "Sampling",
    "Setwise",
    "SingleToken",
    "SlidingWindow",
    "TopDown",
    "Tournament",
    "windows",
]
