"""The parts of a framework's component around a `Reranker`, shared by all frameworks.

A component has items with ids, texts and scores of any origin. `candidates` makes passages of
them, a `Reranker` ranks those, and `conclude` makes the component's result: which items to return,
their scores, and what to tell the user.
"""

from .._checks import listed
from .._threads import off_loop
from ..handlers import AnyBackend
from ..registry import Group
from ._backends import build_backend, build_reranker, chat_options, model_name, plain_part
from ._checked import Checked, Checks, check_flag, check_names, check_part, check_text
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
    ordering_at_least,
    pointwise_strategy,
    top_grade,
)

__all__ = [
    "FIRST_MODEL",
    "FULL_LIST_MODEL",
    "GROUPWISE_MODEL",
    "POINTWISE_MODEL",
    "AnyBackend",
    "Candidates",
    "Checked",
    "Checks",
    "Group",
    "Outcome",
    "build_backend",
    "build_reranker",
    "candidates",
    "chat_options",
    "check_flag",
    "check_names",
    "check_part",
    "check_text",
    "check_threshold",
    "check_top_k",
    "choose_strategy",
    "conclude",
    "find_prompts",
    "first_strategy",
    "full_list_strategy",
    "groupwise_strategy",
    "listed",
    "model_name",
    "off_loop",
    "ordering_at_least",
    "plain_part",
    "pointwise_strategy",
    "top_grade",
    "with_prompt",
]
