"""The papers' training objectives: pure functions on tensors, with masks for padding.

Each states its formula, its shapes, its source and what of it was verified. A loss over lists takes
``scores`` of shape ``(batch, n)``, higher is better; a target of the same shape (``labels`` where
higher is better, ``ranks`` where 1 is the best, or a teacher's scores); and ``where``, False at
padding. It returns a scalar: the mean over the lists that have something to compare, 0 where none
has. `ranking_loss` finds one by its name.

The formula of RankList (arXiv:2508.09826) is not public: nothing here is called that.
"""

from ..._extras import extra

extra("torch", "transformers")  # a missing torch is named in one sentence

from ._distillation import (  # noqa: E402 - after the check
    hybrid_distillation,
    kl_distillation,
    plackett_luce_distillation,
    wasserstein,
)
from ._language import (  # noqa: E402
    FIRST_WEIGHTS,
    first,
    identifier_ranks,
    importance_aware_lm,
    importance_weights,
    language_model,
    pair_and_list,
)
from ._listwise import cross_entropy, list_mle, listnet, p_list_mle, z_loss  # noqa: E402
from ._named import RANKING_LOSSES, RankingLoss, ranking_loss  # noqa: E402
from ._padding import ranks_of  # noqa: E402
from ._pairwise import lambda_loss, lipo_lambda, margin_mse, ranknet  # noqa: E402
from ._pointwise import binary_cross_entropy  # noqa: E402

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
