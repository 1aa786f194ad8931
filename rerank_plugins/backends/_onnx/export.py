"""Export of a model's weights: torch's graph, in 32 bits or in eight."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..._extras import extra
from ...calls import Reply, ScorePair
from ...errors import ModelLoadError
from .._local.cross_encoder import CrossEncoderBackend
from .._local.loading import first_line, incomplete_checkpoint, quiet
from .classifier import OnnxCrossEncoderBackend
from .encoder import load_encoder
from .first_token import keep_first_token
from .outliers import split_outliers
from .session import INPUTS

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["cross-encoder", "encoder"]

_OPSET = 17
_LARGEST = 2**31
"""Bytes of a graph in one file at most."""
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_EXACT, _ROUNDED = 1e-3, 0.25
"""Distances from torch's numbers, as a share of their spread, that 32 and 8 bits may have."""
_QUERY = "how long does a flea live"
_PASSAGES = (
    "Adult fleas live for two to three months.",
    "A flea without a host dies within days.",
    "Cats sleep for most of the day.",
    "",
    "The city has two railway stations and a harbour. " * 3,
    "fleas",
)
_VARIED = (
    'In 1987, Dr. Hall (aged 54) measured the lift of 3 thin wings at Mach 0.8: "The drag," she '
    'wrote, "rose by 12.5 % - far more than theory predicts; see fig. 2 and eqs. [4]-[7]."',
    "Patients with type-2 diabetes, however, didn't improve (p < 0.05) after 6 weeks. Why? Their "
    "DNA had no mutation of BRCA1!",
    "Libraries use catalogues, indexes & computers to find documents, at $3 million a year... "
    "More at https://example.org/a_b?c=1",
)
"""Words, numbers and signs of many kinds: models put their largest values on some of them."""
_SHOWN = 64
"""Tokens of them that are shown; some models take no more."""


def export_weights(
    model: str,
    folder: Path,
    precision: Literal["fp32", "int8"],
    *,
    revision: str | None = None,
    token: Callable[[], str | None] = lambda: None,
) -> tuple[Kind, float]:
    """Export a cross-encoder or an encoder, with its tokenizer and configuration, and check it.

    Weights of eight bits are quantised for each output channel, to seven bits of the range: sums
    of products then fit 16 bits on processors without instructions for products of eight bits.
    Activations are quantised as they come; columns that are far larger than the others are spread
    over several first.

    Args:
        model: A hub id, or a folder with safetensors weights.
        folder: Where to: a new folder, which is there.
        precision: ``"fp32"`` or ``"int8"``.
        revision: The hub revision.
        token: Gives the hub's token.

    Returns:
        What it is, and the distance of its numbers from torch's on some texts, as a share of their
        spread.

    Raises:
        MissingExtraError: torch, transformers, sentence-transformers or onnx is not installed.
        ModelLoadError: It cannot be loaded, is neither, or computes something else when exported.
    """
    transformers = extra("transformers", "export")
    extra("torch", "export")
    extra("onnx", "export")
    source = {"revision": revision, "token": token(), "trust_remote_code": False}
    try:
        with quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(model, **source)
    except Exception as error:
        raise _unloadable(model, error) from error
    [name, *_] = config.architectures or [""]
    if name.endswith(_WRITERS):
        raise ModelLoadError(
            f"{model!r} is a {name}, which writes text",
            hint="Cross-encoders with one label and encoders can be exported.",
        )
    if name.endswith("ForSequenceClassification"):
        return "cross-encoder", _export_classifier(model, folder, precision, revision, token)
    return "encoder", _export_encoder(model, folder, precision, source)


def _export_classifier(
    model: str,
    folder: Path,
    precision: Literal["fp32", "int8"],
    revision: str | None,
    token: Callable[[], str | None],
) -> float:
    calls = [ScorePair(_QUERY, passage) for passage in _PASSAGES]
    right = CrossEncoderBackend(
        model, device="cpu", dtype="float32", revision=revision, token=token()
    )
    expected = right.run(calls)  # it also refuses what has no head for pairs
    loaded = right.classifier()
    _write(loaded.model, loaded.tokenizer, "logits", folder, precision, pair=True)
    found = OnnxCrossEncoderBackend(folder, device="cpu").run(calls)
    return _close(_answers(found), _answers(expected), precision, model)


def _export_encoder(
    model: str, folder: Path, precision: Literal["fp32", "int8"], source: dict[str, Any]
) -> float:
    import torch

    transformers = extra("transformers", "export")
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, **source)
            loaded, info = transformers.AutoModel.from_pretrained(
                model,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **source,
            )
    except Exception as error:
        raise _unloadable(model, error) from error
    # What a pooler adds is not among the states of the tokens.
    if missing := sorted(key for key in info["missing_keys"] if not key.startswith("pooler.")):
        raise incomplete_checkpoint(model, missing)
    _write(loaded.eval(), tokenizer, "last_hidden_state", folder, precision, pair=False)
    encoder = load_encoder(str(folder), device="cpu")
    rows = [tokenizer(text)["input_ids"] for text in (_QUERY, *_PASSAGES)]
    with torch.inference_mode():
        expected = [loaded(torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]
    return _close(encoder.states(rows), expected, precision, model)


def _write(
    model: Any,
    tokenizer: Any,
    output: str,
    folder: Path,
    precision: Literal["fp32", "int8"],
    *,
    pair: bool,
) -> None:
    """Write the graph, its tokenizer and its configuration."""
    import torch

    if 4 * sum(weight.numel() for weight in model.parameters()) >= _LARGEST:
        raise ModelLoadError(
            "the weights take more than 2 GiB in 32 bits, and one exported file holds less",
            hint="Use a smaller model, or run this one with CrossEncoderBackend.",
        )
    # Written out, attention is what onnxruntime joins into fast operations; torch's fused one comes
    # out with checks of the mask that take a third of the time of long texts.
    model.set_attn_implementation("eager")
    known = inspect.signature(type(model).forward).parameters
    names = [n for n in INPUTS if n in tokenizer.model_input_names and n in known]
    texts = [[_QUERY] * 2, list(_PASSAGES[:2])] if pair else [[_QUERY, *_PASSAGES[:2]]]
    example = tokenizer(*texts, padding=True, return_tensors="pt")

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: "torch.Tensor") -> "torch.Tensor":
            found: torch.Tensor = self.model(**dict(zip(names, values, strict=True)))[output]
            return found

    sizes = {0: "batch", 1: "tokens"}
    path = folder / "model.onnx"
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of values that are constant in this graph; it is checked
        torch.onnx.export(
            Graph().eval(),
            tuple(example[name] for name in names),
            str(path),
            dynamo=False,
            input_names=names,
            output_names=[output],
            dynamic_axes={**dict.fromkeys(names, sizes), output: {0: "batch"} if pair else sizes},
            opset_version=_OPSET,
        )
    if pair:
        onnx = extra("onnx", "export")
        onnx.save(keep_first_token(onnx.load(str(path))), str(path))
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)  # now: it keeps what it is asked below
    if precision == "int8":
        limit = {"truncation": True, "max_length": _SHOWN, "return_tensors": "np"}
        shown = [
            tokenizer(*([_QUERY, text] if pair else [text]), **limit)
            for text in (_QUERY, *_PASSAGES, *_VARIED)
        ]
        feeds = [{name: ids[name].astype("int64") for name in names} for ids in shown]
        _quantise(path, folder / "model_int8.onnx", feeds)
        path.unlink()


def _quantise(
    source: Path, target: Path, feeds: "Sequence[Mapping[str, np.ndarray[Any, Any]]]"
) -> None:
    """Round a graph's weights to eight bits; the feeds show where its states are large."""
    onnx = extra("onnx", "export")
    library = extra("onnxruntime.quantization", "export")
    marks = extra("onnxruntime.quantization.quant_utils", "export")
    graph = onnx.load(str(source))
    split_outliers(graph, feeds)
    marks.add_pre_process_metadata(graph)  # else it asks, in the log, for work that is not needed
    library.quantize_dynamic(
        graph,
        str(target),
        weight_type=library.QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )


def _answers(replies: Sequence[Any]) -> "list[np.ndarray[Any, Any]]":
    import numpy as np

    for reply in replies:
        if not isinstance(reply, Reply):
            raise reply
    return [np.array([reply.answer for reply in replies])]


def _close(
    found: "Sequence[np.ndarray[Any, Any]]",
    right: "Sequence[np.ndarray[Any, Any]]",
    precision: Literal["fp32", "int8"],
    model: str,
) -> float:
    """The distance of exported numbers from torch's.

    Raises:
        ModelLoadError: It is too large.
    """
    import numpy as np

    a, b = (np.concatenate([x.ravel() for x in rows]) for rows in (found, right))
    distance = float(np.linalg.norm(a - b) / np.linalg.norm(b - b.mean()))
    if not distance <= (_EXACT if precision == "fp32" else _ROUNDED):
        raise ModelLoadError(
            f"{model!r} computes something else when it is exported: its numbers move by "
            f"{distance:.1%} of their spread",
            hint="Try precision='fp32'."
            if precision == "int8"
            else "Use CrossEncoderBackend for this model.",
        )
    return distance


def _unloadable(model: str, error: Exception) -> ModelLoadError:
    return ModelLoadError(
        f"cannot load {model!r}: {first_line(error)}",
        hint="Give a hub id that this machine can reach or has in its cache, or a folder with "
        "config.json and safetensors weights.",
    )
