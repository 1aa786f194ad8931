"""Files of rankings that grow query by query, and are gone on with after an interruption."""

from ._formats import FORMATS, Format, Jsonl, Trec
from ._manifest import Manifest, manifest_path, read_manifest
from ._rank_file import Counts, rank_file, ranked

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
