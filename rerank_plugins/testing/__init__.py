"""Doubles and contract suites for strategies and backends, yours and ours.

The suites need pytest: import them from `rerank_plugins.testing.contracts`, or from here.
"""

from typing import TYPE_CHECKING, Any

from ._doubles import Babbling, Constant, Failing, Logged, Replay, Scripted
from ._oracle import Oracle

if TYPE_CHECKING:
    from .contracts import BackendContract, StrategyContract

__all__ = [
    "Babbling",
    "BackendContract",
    "Constant",
    "Failing",
    "Logged",
    "Oracle",
    "Replay",
    "Scripted",
    "StrategyContract",
]


def __getattr__(name: str) -> Any:
    if name in ("BackendContract", "StrategyContract"):
        from . import contracts  # imported when asked for: it needs pytest

        return getattr(contracts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
