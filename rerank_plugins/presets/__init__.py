"""Public checkpoints by name, and folders of trained rerankers: where a reranker comes from."""

from ._folder import FILE, HERE, is_saved, saved_parts, write_saved
from ._load import DEFAULT, find_preset, list_presets, load_reranker, preset_parts
from ._package import embedded

__all__ = [
    "DEFAULT",
    "FILE",
    "HERE",
    "embedded",
    "find_preset",
    "is_saved",
    "list_presets",
    "load_reranker",
    "preset_parts",
    "saved_parts",
    "write_saved",
]
