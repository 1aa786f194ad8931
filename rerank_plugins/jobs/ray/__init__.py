"""Ranking millions of queries in one job, over the machines of a Ray cluster."""

from ._dataset import Counts, rank_dataset
from ._rankings import RankedQuery, read_rankings, write_run

__all__ = ["Counts", "RankedQuery", "rank_dataset", "read_rankings", "write_run"]
