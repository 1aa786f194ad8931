"""The parts of a framework's component around a `Reranker`, shared by all frameworks.

A component has items with ids, texts and scores of any origin. `candidates` makes passages of
them, a `Reranker` ranks those, and `conclude` makes the component's result: which items to return,
their scores, and what to tell the user.
"""

from .._checks import at_least, known_keys, listed, nearest_of
from .._threads import off_loop
from ..handlers import AnyBackend
from ..presets import DEFAULT_PRESET, UNTRAINED, Named
from ..registry import Group
from ._backends import (
    build_backend,
    build_reranker,
    chat_options,
    find_checkpoint,
    find_parts,
    model_name,
    plain_part,
    refuse_download,
    reranker_of,
)
from ._checked import Checked, Checks, check_flag, check_names, check_part, check_text
from ._items import (
    Candidates,
    Outcome,
    candidates,
    check_cut,
    check_threshold,
    check_top_k,
    conclude,
)
from ._prompts import find_prompts, with_prompt
from ._strategies import (
    FIRST_MODEL,
    FULL_LIST_MODEL,
    GROUPWISE_MODEL,
    POINTWISE_MODEL,
    first_strategy,
    full_list_strategy,
    groupwise_strategy,
    ordering_at_least,
    pointwise_strategy,
    top_grade,
    usual_policy,
)

__all__ = [
    "DEFAULT_PRESET",
    "FIRST_MODEL",
    "FULL_LIST_MODEL",
    "GROUPWISE_MODEL",
    "POINTWISE_MODEL",
    "UNTRAINED",
    "AnyBackend",
    "Candidates",
    "Checked",
    "Checks",
    "Group",
    "Named",
    "Outcome",
    "at_least",
    "build_backend",
    "build_reranker",
    "candidates",
    "chat_options",
    "check_cut",
    "check_flag",
    "check_names",
    "check_part",
    "check_text",
    "check_threshold",
    "check_top_k",
    "conclude",
    "find_checkpoint",
    "find_parts",
    "find_prompts",
    "first_strategy",
    "full_list_strategy",
    "groupwise_strategy",
    "known_keys",
    "listed",
    "model_name",
    "nearest_of",
    "off_loop",
    "ordering_at_least",
    "plain_part",
    "pointwise_strategy",
    "refuse_download",
    "reranker_of",
    "top_grade",
    "usual_policy",
    "with_prompt",
]
