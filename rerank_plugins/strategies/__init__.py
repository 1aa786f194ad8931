"""Ranking algorithms, each written once: plans of calls that any backend can answer."""

from ._acu_rank import AcuRank
from ._attempt import Attempt
from ._attention_score import AttentionScore
from ._best_chunk import BestChunk, with_chunks
from ._blitz_rank import BlitzRank
from ._block_embedding import BlockEmbedding
from ._calibrated import Calibrated
from ._cascade import Cascade
from ._consensus import Consensus
from ._full_list import FullList, Read
from ._groupwise import Groupwise
from ._head import Head, When, margin_of
from ._hybrid import Blend, Hybrid
from ._joint_rank import JointRank
from ._keep_order import KeepOrder
from ._pair_score import PairScore
from ._pairwise import Pairwise
from ._permutation import ConstrainedPermutation, Permutation
from ._pointwise import Pointwise
from ._pointwise_grade import PointwiseGrade
from ._pseudo_query import PseudoQuery
from ._query_likelihood import QueryLikelihood
from ._sampling import Sampling
from ._schedules import TopDown, Tournament
from ._setwise import Setwise
from ._single_token import Policy, SingleToken
from ._sliding_window import SlidingWindow, windows

__all__ = [
    "AcuRank",
    "Attempt",
    "AttentionScore",
    "BestChunk",
    "Blend",
    "BlitzRank",
    "BlockEmbedding",
    "Calibrated",
    "Cascade",
    "Consensus",
    "ConstrainedPermutation",
    "FullList",
    "Groupwise",
    "Head",
    "Hybrid",
    "JointRank",
    "KeepOrder",
    "PairScore",
    "Pairwise",
    "Permutation",
    "Pointwise",
    "PointwiseGrade",
    "Policy",
    "PseudoQuery",
    "QueryLikelihood",
    "Read",
    "Sampling",
    "Setwise",
    "SingleToken",
    "SlidingWindow",
    "TopDown",
    "Tournament",
    "When",
    "margin_of",
    "windows",
    "with_chunks",
]
