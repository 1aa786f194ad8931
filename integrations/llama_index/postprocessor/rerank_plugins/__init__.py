"""LLM rerankers as LlamaIndex node postprocessors."""

from ._base import InstructedQuery
from ._first import FirstRerank
from ._full_list import FullListRerank
from ._groupwise import GroupwiseRerank
from ._llm import LLMBackend
from ._plugin import PluginRerank
from ._pointwise import PointwiseRerank

__all__ = [
    "FirstRerank",
    "FullListRerank",
    "GroupwiseRerank",
    "InstructedQuery",
    "LLMBackend",
    "PluginRerank",
    "PointwiseRerank",
]
