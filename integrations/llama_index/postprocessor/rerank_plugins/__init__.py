"""LLM rerankers as LlamaIndex node postprocessors."""

from .base import FirstRerank, PluginRerank

__all__ = ["FirstRerank", "PluginRerank"]
