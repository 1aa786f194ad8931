"""LLM rerankers as LlamaIndex node postprocessors."""

from .first import FirstRerank
from .full_list import FullListRerank
from .groupwise import GroupwiseRerank
from .llm import LLMBackend
from .plugin import PluginRerank
from .pointwise import PointwiseRerank

__all__ = [
    "FirstRerank",
    "FullListRerank",
    "GroupwiseRerank",
    "LLMBackend",
    "PluginRerank",
    "PointwiseRerank",
]
