"""The papers' training objectives: pure functions on tensors, with masks for padding.

Each says its formula, its shapes, its source and what of it was verified. A loss over lists takes
``scores`` of shape ``(batch, n)``, higher is better; a target of the same shape (``labels`` where
higher is better, ``ranks`` where 1 is the best, or a teacher's scores); and ``where``, False at
padding. It returns a scalar: the mean over the lists that have something to compare, 0 where none
has. `ranking_loss` finds one by its name.

The formula of RankList (arXiv:2508.09826) is not public: nothing here is called that.
"""

try:
    import torch as _torch  # noqa: F401 - to say what is missing in one sentence
except ImportError as error:
    from ...errors import MissingExtraError

    raise MissingExtraError(
        "torch is not installed",
        hint='Install it with: pip install "rerank-plugins[transformers]".',
    ) from error

from ._distillation import (
    hybrid_distillation,
    kl_distillation,
    plackett_luce_distillation,
    wasserstein,
)
from ._language import (
    FIRST_WEIGHTS,
    first,
    identifier_ranks,
    importance_aware_lm,
    importance_weights,
    language_model,
    pair_and_list,
)
from ._listwise import cross_entropy, list_mle, listnet, p_list_mle, z_loss
from ._named import RANKING_LOSSES, RankingLoss, ranking_loss
from ._padding import ranks_of
from ._pairwise import lambda_loss, lipo_lambda, margin_mse, ranknet
from ._pointwise import binary_cross_entropy

__all__ = [
    "FIRST_WEIGHTS",
    "RANKING_LOSSES",
    "RankingLoss",
    "binary_cross_entropy",
    "cross_entropy",
    "first",
    "hybrid_distillation",
    "identifier_ranks",
    "importance_aware_lm",
    "importance_weights",
    "kl_distillation",
    "lambda_loss",
    "language_model",
    "lipo_lambda",
    "list_mle",
    "listnet",
    "margin_mse",
    "p_list_mle",
    "pair_and_list",
    "plackett_luce_distillation",
    "ranking_loss",
    "ranknet",
    "ranks_of",
    "wasserstein",
    "z_loss",
]
