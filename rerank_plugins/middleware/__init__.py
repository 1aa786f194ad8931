"""What cuts across strategies and backends, in two places.

Around a *plan*, which sees one query whatever shares its batches: `metered`, `limited`.
Around a *backend*, which sees the wire: `cached`, `retried`, `guarded`, `recorded`, `traced`. A
wrapped backend is a backend, so they nest: ``cached(retried(backend))``.
"""

from typing import TYPE_CHECKING, Any

from .layers import Layer, cached, guarded, retried, traced
from .plans import Limits, limited, metered

if TYPE_CHECKING:
    from .transcript import read_transcript, recorded

__all__ = [
    "Layer",
    "Limits",
    "cached",
    "guarded",
    "limited",
    "metered",
    "read_transcript",
    "recorded",
    "retried",
    "traced",
]


def __getattr__(name: str) -> Any:
    if name in ("read_transcript", "recorded"):
        from . import transcript  # imported when asked for: it costs a tenth of the import time

        return getattr(transcript, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
