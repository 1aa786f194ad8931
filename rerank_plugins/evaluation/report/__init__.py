"""Pictures of rankings and rerankers, and a page with all of them."""

from ._page import report_page, write_report
from ._pictures import (
    changes_by_query,
    differences,
    effectiveness_cost,
    movement,
    rank_movement,
    recall_by_depth,
    save,
    training_curve,
)

__all__ = [
    "changes_by_query",
    "differences",
    "effectiveness_cost",
    "movement",
    "rank_movement",
    "recall_by_depth",
    "report_page",
    "save",
    "training_curve",
    "write_report",
]
