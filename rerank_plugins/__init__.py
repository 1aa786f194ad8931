"""LLM reranking for retrieval-augmented generation: one engine, any model, sync and async."""

from .errors import (
    BackendError,
    BudgetError,
    CallError,
    ChatTemplateError,
    ConfigurationError,
    ContractError,
    InputError,
    LabelError,
    LogprobsError,
    MissingExtraError,
    ModelLoadError,
    ModelOutputError,
    PromptTooLongError,
    RerankError,
    UnknownNameError,
    UnsupportedCallError,
)
from .middleware import Limits
from .presets import list_presets, load_reranker
from .ranking import RankedPassage, Ranking, Report, Usage
from .reranker import Reranker
from .text import Passage

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BudgetError",
    "CallError",
    "ChatTemplateError",
    "ConfigurationError",
    "ContractError",
    "InputError",
    "LabelError",
    "Limits",
    "LogprobsError",
    "MissingExtraError",
    "ModelLoadError",
    "ModelOutputError",
    "Passage",
    "PromptTooLongError",
    "RankedPassage",
    "Ranking",
    "Report",
    "RerankError",
    "Reranker",
    "UnknownNameError",
    "UnsupportedCallError",
    "Usage",
    "list_presets",
    "load_reranker",
]
