"""Rank millions of queries in one job, over the machines of a Ray cluster."""

from ._dataset import DatasetCounts, rank_dataset
from ._rankings import RankedQuery, read_rankings, write_run

__all__ = ["DatasetCounts", "RankedQuery", "rank_dataset", "read_rankings", "write_run"]
