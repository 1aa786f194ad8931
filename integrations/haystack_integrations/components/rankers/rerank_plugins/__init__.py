# SPDX-License-Identifier: Apache-2.0
"""LLM rerankers as Haystack components."""

from .ranker import FirstRanker, PluginRanker

__all__ = ["FirstRanker", "PluginRanker"]
