# SPDX-License-Identifier: Apache-2.0
from .chat_generator import ChatGeneratorBackend
from .first import FirstRanker
from .full_list import FullListRanker
from .groupwise import GroupwiseRanker
from .plugin import PluginRanker
from .pointwise import PointwiseRanker

__all__ = [
    "ChatGeneratorBackend",
    "FirstRanker",
    "FullListRanker",
    "GroupwiseRanker",
    "PluginRanker",
    "PointwiseRanker",
]
