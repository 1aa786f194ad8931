"""Files of rankings that grow query by query, and are gone on with after an interruption."""

from .formats import FORMATS, Format, Jsonl, Trec
from .job import Counts, rank_file, ranked
from .manifest import Manifest, manifest_path, read_manifest

__all__ = [
    "FORMATS",
    "Counts",
    "Format",
    "Jsonl",
    "Manifest",
    "Trec",
    "manifest_path",
    "rank_file",
    "ranked",
    "read_manifest",
]
