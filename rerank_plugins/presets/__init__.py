"""Rerankers by name: public checkpoints, folders of trained rerankers, servers, specs."""

from .._shipped import package_folder
from ._checkpoints import find_preset, list_presets, preset_parts, size_of
from ._exported import ExportedModel, Precision, export_model
from ._folder import RERANKER_FILE, THIS_FOLDER, is_saved, saved_parts, write_saved
from ._load import DEFAULT_PRESET, load_reranker
from ._names import (
    UNTRAINED,
    Named,
    asks_for_pairs,
    backend_of,
    find_named,
    is_address,
    is_spec,
    load_spec,
)

__all__ = [
    "DEFAULT_PRESET",
    "RERANKER_FILE",
    "THIS_FOLDER",
    "UNTRAINED",
    "ExportedModel",
    "Named",
    "Precision",
    "asks_for_pairs",
    "backend_of",
    "export_model",
    "find_named",
    "find_preset",
    "is_address",
    "is_saved",
    "is_spec",
    "list_presets",
    "load_reranker",
    "load_spec",
    "package_folder",
    "preset_parts",
    "saved_parts",
    "size_of",
    "write_saved",
]
