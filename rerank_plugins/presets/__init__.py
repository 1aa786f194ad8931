"""Rerankers by name: public checkpoints, and folders of trained rerankers."""

from .._shipped import package_folder
from ._folder import RERANKER_FILE, THIS_FOLDER, is_saved, saved_parts, write_saved
from ._load import DEFAULT_PRESET, find_preset, list_presets, load_reranker, preset_parts

__all__ = [
    "DEFAULT_PRESET",
    "RERANKER_FILE",
    "THIS_FOLDER",
    "find_preset",
    "is_saved",
    "list_presets",
    "load_reranker",
    "package_folder",
    "preset_parts",
    "saved_parts",
    "write_saved",
]
