"""Files of rankings that are written query by query and resumed after an interruption."""

from ._formats import FORMATS, Format, Jsonl, Trec, nonzero
from ._manifest import Manifest, manifest_path, read_manifest
from ._rank_file import FileCounts, Progress, rank_file, rank_stream
from ._requests import Query, parse_id, parse_query, read_requests, run_requests

__all__ = [
    "FORMATS",
    "FileCounts",
    "Format",
    "Jsonl",
    "Manifest",
    "Progress",
    "Query",
    "Trec",
    "manifest_path",
    "nonzero",
    "parse_id",
    "parse_query",
    "rank_file",
    "rank_stream",
    "read_manifest",
    "read_requests",
    "run_requests",
]
