"""Loading a language model: a hub id, a folder, or a GGUF file."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import ConfigurationError, ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def load_language_model(
    model: str,
    *,
    device: str,
    dtype: str,
    revision: str | None = None,
    token: str | None = None,
    auto: str = "AutoModelForCausalLM",
    device_map: str | Mapping[str, Any] | None = None,
    **weights: Any,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A model in evaluation mode on its device, and its tokenizer.

    ``auto`` is the class of ``transformers`` that loads it: ``AutoModelForSeq2SeqLM`` for an
    encoder and a decoder. ``device_map`` spreads it over several devices, and ``weights`` are
    further options of ``from_pretrained``: ``attn_implementation``, ``quantization_config``.

    Weights are read from safetensors only, and no code that comes with a model is run.

    Raises:
        MissingExtraError: ``transformers`` or ``torch`` is not installed.
        ConfigurationError: ``dtype`` or ``device`` is not known.
        ModelLoadError: The files are missing, damaged, incomplete, or no generative model.
    """
    transformers = extra("transformers", "transformers")
    extra("torch", "transformers")
    source = str(unpacked_gguf(Path(model))) if model.endswith(".gguf") else model
    place = chosen_device(device)
    options: dict[str, Any] = {"revision": revision, "token": token, "trust_remote_code": False}
    try:
        with quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(source, **options)
            _require_generative(model, config)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
            quantised = "quantization_config" in weights or hasattr(config, "quantization_config")
            if quantised and device_map is None:
                device_map = {"": place}  # such models cannot be moved afterwards
            loaded, info = getattr(transformers, auto).from_pretrained(
                source,
                dtype=chosen_dtype(dtype, place),
                use_safetensors=True,
                output_loading_info=True,
                device_map=device_map,
                **options,
                **weights,
            )
            if device_map is None:
                loaded = loaded.to(place)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"cannot load the model {model!r}: {first_line(error)}",
            hint="Give a hub id that this machine can reach or has in its cache, a folder with "
            "config.json and safetensors weights, or a .gguf file.",
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise lacking(model, missing)
    return loaded.eval(), tokenizer


def missing_weights(kind: Any, model: str, **options: Any) -> list[str]:
    """The names of tensors that a checkpoint lacks: libraries fill them in and only log it.

    Args:
        kind: The class of ``transformers`` that is to be loaded.
        model: A hub id or a folder.
        **options: Of ``from_pretrained``.
    """
    _, info = kind.from_pretrained(
        model,
        trust_remote_code=False,
        use_safetensors=True,
        device_map="meta",  # names only: no tensor is read
        output_loading_info=True,
        **options,
    )
    return sorted(info["missing_keys"])


def lacking(model: str, missing: list[str]) -> ModelLoadError:
    """The error of a checkpoint without these tensors."""
    return ModelLoadError(
        f"the weights of {model!r} lack {len(missing)} tensors, {missing[0]} among them",
        hint="They would be random numbers, and so would every score.",
    )


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a hub id, a folder or a ``.gguf`` file. No code that comes with it is run.

    Raises:
        MissingExtraError: ``transformers`` is not installed.
        ModelLoadError: There is none.
    """
    transformers = extra("transformers", "transformers")
    folder = str(unpacked_gguf(Path(source))) if source.endswith(".gguf") else source
    try:
        with quiet(transformers):
            found: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False
            )
    except Exception as error:
        raise ModelLoadError(
            f"cannot load the tokenizer {source!r}: {first_line(error)}",
            hint="Give a hub id that this machine can reach or has in its cache, or a folder.",
        ) from error
    return found


def unpacked_gguf(path: Path) -> Path:
    """A folder with the GGUF file's model as safetensors, made once and kept in the cache.

    Unpacking takes far longer than loading the result, which is in float32 and therefore
    several times the file's size. The cache is ``huggingface_hub``'s assets folder.

    Raises:
        ModelLoadError: There is no such file, or it cannot be read.
    """
    transformers = extra("transformers", "transformers")
    extra("gguf", "transformers")
    hub = extra("huggingface_hub", "transformers")
    if not path.is_file():
        raise ModelLoadError(f"there is no file {str(path)!r}")
    cache = hub.cached_assets_path(library_name="rerank-plugins", namespace="gguf")
    target = Path(cache) / f"{path.stem}-{_digest(path)}-{transformers.__version__}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        _unpack(transformers, path, scratch)
        os.replace(scratch, target)
    except OSError as error:
        if not target.is_dir():  # else another process was faster
            raise ModelLoadError(f"cannot unpack {str(path)!r}: {error}") from error
    except Exception as error:
        raise ModelLoadError(f"cannot read {str(path)!r} as GGUF: {first_line(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _unpack(transformers: Any, path: Path, target: Path) -> None:
    torch = extra("torch", "transformers")
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    with quiet(transformers):
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        # The tensors are dequantised by now; only the marks of it would stop the saving.
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer, model.is_quantized = None, False
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _require_generative(model: str, config: Any) -> None:
    architectures = config.architectures or []
    if architectures and not any(a.endswith(_GENERATIVE) for a in architectures):
        raise ModelLoadError(
            f"{model!r} is a {architectures[0]}, not a causal language model or any other that "
            "writes text",
            hint="Its language-model head would be random numbers.",
        )


def chosen_device(device: str) -> str:
    """A torch device; for ``"auto"`` the best there is.

    Raises:
        ConfigurationError: There is no such device here.
    """
    import torch  # checked by the caller

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigurationError(
            f"there is no device {device!r} here: {first_line(error)}",
            hint="Try 'cpu' or 'auto'.",
        ) from error
    return device


def chosen_dtype(dtype: str, device: str) -> Any:
    """A torch dtype; for ``"auto"`` the one that suits the device.

    Raises:
        ConfigurationError: There is no such dtype.
    """
    import torch  # checked by the caller

    if dtype == "auto":
        # Two to seven times slower in bfloat16 on a CPU without its instructions, and less exact.
        return torch.float32 if device == "cpu" else "auto"
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise ConfigurationError(f"there is no dtype {dtype!r}", hint="Try 'float32' or 'auto'.")
    return found


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """No progress bars while loading, and the caller's settings afterwards."""
    logging = transformers.utils.logging
    enabled = logging.is_progress_bar_enabled()
    # Its GGUF reader brings a bar of its own that the setting does not reach.
    gguf = import_module("transformers.modeling_gguf_pytorch_utils")
    bar = getattr(gguf, "tqdm", None)
    logging.disable_progress_bar()
    vars(gguf)["tqdm"] = partial(bar, disable=True) if bar else None
    try:
        yield
    finally:
        vars(gguf)["tqdm"] = bar
        if enabled:
            logging.enable_progress_bar()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def first_line(error: Exception) -> str:
    """What an error says, without the pages that follow."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
