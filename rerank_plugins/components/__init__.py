"""What a framework's component needs around a `Reranker`: written once, and without colour.

A component has items with ids, texts and scores of any origin. `candidates` makes passages of
them, a `Reranker` ranks those, and `conclude` says which items to return, with which scores and
with what to tell the user.
"""

from ._backends import build_backend, model_name
from ._items import Candidates, Outcome, candidates, check_threshold, check_top_k, conclude
from ._prompts import find_prompts, with_prompt
from ._strategies import (
    FIRST_MODEL,
    FULL_LIST_MODEL,
    GROUPWISE_MODEL,
    POINTWISE_MODEL,
    choose_strategy,
    first_strategy,
    full_list_strategy,
    groupwise_strategy,
    pointwise_strategy,
)

__all__ = [
    "FIRST_MODEL",
    "FULL_LIST_MODEL",
    "GROUPWISE_MODEL",
    "POINTWISE_MODEL",
    "Candidates",
    "Outcome",
    "build_backend",
    "candidates",
    "check_threshold",
    "check_top_k",
    "choose_strategy",
    "conclude",
    "find_prompts",
    "first_strategy",
    "full_list_strategy",
    "groupwise_strategy",
    "model_name",
    "pointwise_strategy",
    "with_prompt",
]
