"""Training rerankers with the papers' objectives, through the prompts that serve them.

`train` makes a folder that `rerank_plugins.load_reranker` opens; `data` makes the lists that it
learns from, `losses` are pure functions on tensors, `rewards` are for reinforcement learning.
"""

try:
    import torch as _torch  # noqa: F401 - to say what is missing in one sentence
    import transformers as _transformers  # noqa: F401 - as above
except ImportError as error:
    from ..errors import MissingExtraError

    raise MissingExtraError(
        f"{error.name} is not installed",
        hint='Install it with: pip install "rerank-plugins[train]".',
    ) from error

from . import data, losses, rewards
from .data import TrainingList
from .grpo import GrpoOptions, train_with_rewards
from .objectives import Objective
from .options import Lora, Trained, TrainingOptions
from .run import train

__all__ = [
    "GrpoOptions",
    "Lora",
    "Objective",
    "Trained",
    "TrainingList",
    "TrainingOptions",
    "data",
    "losses",
    "rewards",
    "train",
    "train_with_rewards",
]
