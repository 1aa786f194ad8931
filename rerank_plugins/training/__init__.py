"""Training rerankers with the papers' objectives, through the prompts that serve them.

`train` makes a folder that `rerank_plugins.load_reranker` opens. `data` makes the training lists,
`losses` are pure functions on tensors, and `rewards` are for reinforcement learning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .._extras import extra
from . import data
from .data import TrainingList

if TYPE_CHECKING:
    from . import losses, rewards
    from ._grpo import GrpoOptions, train_with_rewards
    from ._objectives import Objective
    from ._run import train
    from ._settings import Lora, Trained, TrainingOptions

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
_HOMES = {
    "GrpoOptions": "_grpo",
    "Lora": "_settings",
    "Objective": "_objectives",
    "Trained": "_settings",
    "TrainingOptions": "_settings",
    "train": "_run",
    "train_with_rewards": "_grpo",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for: making lists does not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f".{_HOMES.get(name, name)}", __name__)
    except ModuleNotFoundError as error:
        extra(str(error.name), "train")  # raises: the message names the extra that is missing
        raise
    return getattr(module, name) if name in _HOMES else module
