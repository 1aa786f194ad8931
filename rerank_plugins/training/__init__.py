"""Training rerankers with the papers' objectives, through the prompts that serve them.

`train` makes a folder that `rerank_plugins.load_reranker` opens; `data` makes the lists that it
learns from, `losses` are pure functions on tensors, `rewards` are for reinforcement learning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
_MODULES = {
    "GrpoOptions": "_grpo",
    "Lora": "_settings",
    "Objective": "_objectives",
    "Trained": "_settings",
    "TrainingOptions": "_settings",
    "train": "_run",
    "train_with_rewards": "_grpo",
}


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for: making lists does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f".{_MODULES.get(name, name)}", __name__)
    except ModuleNotFoundError as error:
        from ..errors import MissingExtraError

        raise MissingExtraError(
            f"{error.name} is not installed",
            hint='Install it with: pip install "rerank-plugins[train]".',
        ) from error
    return module if name not in _MODULES else getattr(module, name)
