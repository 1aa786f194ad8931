"""The facts that a published encoder states about itself in the files beside its weights."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ...errors import ModelLoadError
from .encoding import Pooling

Read = Callable[[str], Mapping[str, Any] | list[Any]]
"""The values of a JSON file of the checkpoint; an empty mapping where it has none."""

_POOLED: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
}


@dataclass(frozen=True, slots=True)
class Published:
    """The settings that an encoder was trained with.

    Attributes:
        colbert: Whether it was trained for late interaction: ColBERT and its relatives.
        part_tokens: Tokens that it read, with special ones; None if it does not say.
        pooling: How one vector is made of its tokens'; None if it does not say, or otherwise.
        query_prefix: Stands before each query.
        passage_prefix: Stands before each passage.
    """

    colbert: bool = False
    part_tokens: int | None = None
    pooling: Pooling | None = None
    query_prefix: str = ""
    passage_prefix: str = ""


def published(name: str, read: Read) -> Published:
    """Read what a checkpoint states, and refuse one that is not an encoder.

    Args:
        name: The checkpoint's, for messages.
        read: Reads its JSON files.

    Raises:
        ModelLoadError: It is a language model, a classifier, or has another kind of task.
    """
    about = _mapping(read("config_sentence_transformers.json"))
    stated = _mapping(read("config.json")).get("architectures")
    architecture = str(stated[0]) if isinstance(stated, list) and stated else ""
    if about.get("model_type") in ("ColBERT", "MultiVectorEncoder") or architecture == "HF_ColBERT":
        return Published(colbert=True)
    if about.get("model_type") in ("CrossEncoder", "SparseEncoder") or (
        "For" in architecture and not architecture.endswith(("ForMaskedLM", "ForPreTraining"))
    ):
        raise ModelLoadError(
            f"{name!r} is a {about.get('model_type') or architecture}, and not an encoder",
            hint="Use CrossEncoderBackend for classifiers of pairs, and TransformersBackend for "
            "language models.",
        )
    prompts = _mapping(about.get("prompts"))
    passage = next((prompts[n] for n in ("document", "passage", "corpus") if n in prompts), "")
    length = _mapping(read("sentence_bert_config.json")).get("max_seq_length")
    return Published(
        part_tokens=length if type(length) is int else None,
        pooling=_pooling(read),
        query_prefix=str(prompts.get("query") or ""),
        passage_prefix=str(passage or ""),
    )


def file_reader(name: str, folder: Path) -> Read:
    """A function that reads the JSON files of a folder.

    Args:
        name: The checkpoint's, for messages.
        folder: The folder.
    """

    def read(file: str) -> Any:
        path = folder / file
        try:
            return json.loads(path.read_text("utf-8")) if path.is_file() else {}
        except (OSError, ValueError, RecursionError) as error:
            raise ModelLoadError(f"{file} of {name!r} is damaged: {error}") from error

    return read


def trained_weights(model: str) -> str:
    """The name that torch loads: the model, or what a folder with exported weights alone is of.

    Such a folder stands for the checkpoint that its ``config.json`` names, where it names one.

    Raises:
        ModelLoadError: A folder has no weights at all.
    """
    folder = Path(model)
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return model
    if not any(folder.glob("*.onnx")) and not any(folder.glob("onnx/*.onnx")):
        raise ModelLoadError(
            f"the folder {model!r} has no weights: neither model.safetensors nor exported ones, "
            "such as onnx/model.onnx",
            hint=f"Copy them from the model, or export it: `rerank-plugins export MODEL {model}`.",
        )
    stated = _mapping(file_reader(model, folder)("config.json"))
    return str(stated.get("_name_or_path") or model)


def _pooling(read: Read) -> Pooling | None:
    """The pooling, where it is one of the known and nothing but a normalisation follows it."""
    modules = [m for m in cast(list[Any], read("modules.json")) if isinstance(m, dict)]
    kinds = [str(m.get("type")).rpartition(".")[2] for m in modules]
    if kinds[1:] not in (["Pooling"], ["Pooling", "Normalize"]):
        return None
    stated = _mapping(read(f"{modules[1].get('path')}/config.json"))
    modes = [mode for mode, used in stated.items() if mode.startswith("pooling_mode_") and used]
    if stated.get("pooling_mode") in ("mean", "cls"):
        return "mean" if stated["pooling_mode"] == "mean" else "first"
    return _POOLED.get(modes[0]) if len(modes) == 1 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
