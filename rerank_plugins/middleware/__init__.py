"""Limits, counters, caches, retries, transcripts and traces, around a plan or around a backend.

Around a *plan*, which sees one query whatever shares its batches: `metered`, `limited`.
Around a *backend*, which sees whole batches: `cached`, `retried`, `guarded`, `recorded`, `traced`.
A wrapped backend is a backend, so they nest: ``cached(retried(backend))``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._budget import Limits, limited, metered

if TYPE_CHECKING:
    from ._layers import Layer, cached, guarded, retried, traced
    from ._transcript import read_transcript, recorded

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


# Imported when asked for: `import rerank_plugins` needs the limits and none of these.
_LATER = {
    **dict.fromkeys(("Layer", "cached", "guarded", "retried", "traced"), "_layers"),
    **dict.fromkeys(("read_transcript", "recorded"), "_transcript"),
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
