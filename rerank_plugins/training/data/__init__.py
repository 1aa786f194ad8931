"""Training lists for rerankers: from judgements, from teachers, from files.

Everything is repeatable: draws depend on an explicit seed and on names, never on the order of the
queries. Nothing is left out silently: ``on_skip`` is called with the reason, or it is an error.
"""

from ._judgements import judged_lists, with_relevant
from ._lists import TrainingList, check_lists, read_lists, write_lists
from ._mining import mined_lists
from ._splits import split
from ._teacher import full_order, labelled_lists, taught, taught_lists, teacher_scores
from ._zephyr import (
    conversation,
    conversation_lists,
    parse_conversation,
    permutation_text,
    read_conversations,
    write_conversations,
)

__all__ = [
    "TrainingList",
    "check_lists",
    "conversation",
    "conversation_lists",
    "full_order",
    "judged_lists",
    "labelled_lists",
    "mined_lists",
    "parse_conversation",
    "permutation_text",
    "read_conversations",
    "read_lists",
    "split",
    "taught",
    "taught_lists",
    "teacher_scores",
    "with_relevant",
    "write_conversations",
    "write_lists",
]
