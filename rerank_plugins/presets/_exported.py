"""Folders of exported models, which need no torch to be loaded."""

import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .._checks import one_of
from .._files import DRAFT, HEX, remove_abandoned, replacing, sync_files
from ..errors import InputError, ModelLoadError
from ..registry import from_spec
from ._checkpoints import find_preset, preset_parts
from ._folder import THIS_FOLDER, write_saved

Precision = Literal["fp32", "int8"]

_KEPT = ("max_tokens", "query_template", "passage_template")
"""Arguments of a preset's backend that say how the model was trained."""
_ENGINES = {"cross-encoder": "onnx-cross-encoder", "encoder": "late-interaction"}
_CARD = """# {name}, exported

Weights of `{source}` in {bits} bits, for onnxruntime, made by `rerank-plugins export`. On a few
texts, what they compute is {distance:.2%} of its spread away from torch's numbers.{rounding}

{use}
The licence is that of `{source}`.
"""
_ROUNDING = """

Weights are quantised for each output channel, and to seven bits of their range: sums of products
then fit 16 bits, also on processors without instructions for products of eight bits."""
_USE = """    from rerank_plugins import load_reranker
    reranker = load_reranker("{name}")  # this folder; needs rerank-plugins[onnx]
"""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """An exported model.

    Args:
        folder: Its folder.
        kind: ``"cross-encoder"``, or ``"encoder"``, which ranks by late interaction.
        distance: How far its numbers are from torch's on a few texts, as a share of their spread.
    """

    folder: Path
    kind: Literal["cross-encoder", "encoder"]
    distance: float


def export_model(
    model: str | Path,
    output: str | Path,
    *,
    precision: Precision = "fp32",
    revision: str | None = None,
    token: "str | Callable[[], str | None] | None" = None,
) -> ExportedModel:
    """Export a cross-encoder or an encoder for onnxruntime; needs torch, the result does not.

    The folder is written whole or not at all, after the exported model was asked for the scores, or
    the hidden states, of a few texts: they have to be torch's but for rounding. ``int8`` takes a
    quarter of the space and of a 32-bit model's time about half.

    Args:
        model: A checkpoint that `list_presets` knows, a folder that was trained here, or any hub id
            or folder of a sequence classifier with one label, or of an encoder, in safetensors.
        output: A folder that does not exist yet, or is empty.
        precision: ``"fp32"`` or ``"int8"``.
        revision: The hub revision.
        token: For private models: the token, or a function that gives it.

    Raises:
        InputError: The folder holds files or cannot be written, or ``precision`` is not known.
        MissingExtraError: The extra ``export`` is not installed.
        ModelLoadError: The model cannot be loaded, is neither a cross-encoder nor an encoder, or
            computes something else when it is exported.
    """
    one_of("precision", precision, get_args(Precision))
    folder = Path(output).absolute()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                f"{str(output)!r} holds files", hint="Give a folder that does not exist yet."
            )
        draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}{DRAFT}")
        draft.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write {str(output)!r}: {error}") from error
    try:
        made = _fill(draft, str(model), precision, revision, token)
        sync_files(draft)
        if folder.is_dir():
            folder.rmdir()  # it is empty
        draft.rename(folder)
        remove_abandoned(folder.parent, f"{folder.name}.{HEX}{DRAFT}")
    except OSError as error:
        raise InputError(f"cannot write {str(output)!r}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return ExportedModel(Path(output), *made)


def _fill(
    draft: Path,
    model: str,
    precision: Precision,
    revision: str | None,
    token: "str | Callable[[], str | None] | None",
) -> tuple[Literal["cross-encoder", "encoder"], float]:
    from ..backends import export_weights  # imported here: a rare use, and a slow import

    strategy, backend = _known(model)
    kind, distance = export_weights(
        backend["model"],
        draft,
        precision,
        revision=revision,
        token=token if callable(token) else lambda: token,
    )
    own = {name: backend[name] for name in _KEPT if name in backend}
    spec = {"name": _ENGINES[kind], "model": THIS_FOLDER, **own}
    about = {"base": {"name": model}, "precision": precision, "distance": distance}
    write_saved(draft, from_spec("strategies", strategy), spec, about)
    name = Path(model).name
    text = _CARD.format(
        name=name,
        source=model,
        bits=32 if precision == "fp32" else 8,
        distance=distance,
        rounding="" if precision == "fp32" else _ROUNDING,
        use=_USE.format(name=name),
    )
    with replacing(draft / "README.md", durable=False) as file:
        file.write(text.encode())
    return kind, distance


def _known(model: str) -> tuple[Mapping[str, Any] | str, Mapping[str, Any]]:
    """The strategy that a model was trained for, and the arguments of its backend.

    Raises:
        ModelLoadError: It is known to be of another kind than can be exported.
    """
    if find_preset(model) is None:
        return {"name": "pair-score"}, {"model": model}
    strategy, backend = preset_parts(model)
    if backend["name"] != "cross-encoder":
        raise ModelLoadError(
            f"{model!r} runs on the backend {backend['name']!r}",
            hint="Cross-encoders with one label and encoders can be exported.",
        )
    return strategy, backend
