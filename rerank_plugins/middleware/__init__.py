"""What cuts across strategies and backends, in two places.

Around a *plan*, which sees one query whatever shares its batches: `metered`, `limited`.
Around a *backend*, which sees the wire: `cached`, `retried`, `guarded`, `recorded`, `traced`. A
wrapped backend is a backend, so they nest: ``cached(retried(backend))``.
"""

from .layers import Layer, cached, guarded, retried, traced
from .plans import Limits, limited, metered
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
