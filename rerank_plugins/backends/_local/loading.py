"""Load a language model from a hub id, a folder, or a GGUF file."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ..._files import digest
from ..._shipped import weights_of
from ..._threads import renewed_by_forks
from ...errors import ConfigurationError, InputError, ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")

_bars = renewed_by_forks(threading.Lock())
_loading: list[int] = []
"""The threads that load with progress bars hidden."""
_restore = ExitStack()
"""Restores the progress bars."""


def check_source(backend: Any, of_loading: Sequence[str]) -> None:
    """Check where a backend's language model comes from: a name or path, or loaded objects.

    Args:
        backend: Has ``model`` and ``tokenizer``.
        of_loading: Its options that are for loading a model alone.

    Raises:
        InputError: There is no model, or a loaded one lacks its tokenizer or has such an option.
    """
    model = backend.model
    if model is None:
        raise InputError("model is None", hint="Give a hub id, a folder or a .gguf file.")
    if isinstance(model, str) == (backend.tokenizer is not None):
        raise InputError(
            "a tokenizer belongs to a loaded model", hint="Give both, or a name or path."
        )
    given = [name for name in of_loading if getattr(backend, name)]
    if given and not isinstance(model, str):
        raise InputError(f"{given[0]} is for loading a model, and this model is loaded already")


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
    """Load a model, in evaluation mode and on its device, and its tokenizer.

    Weights are read from safetensors only, and no code that comes with a model is run.

    Args:
        model: A hub id, a folder, or a ``.gguf`` file.
        device: ``"auto"`` or a torch device.
        dtype: ``"auto"`` or a torch dtype.
        revision: The hub revision.
        token: For private models.
        auto: The class of ``transformers`` that loads the model: ``AutoModelForSeq2SeqLM`` for an
            encoder and a decoder, ``AutoModel`` for one without its language-model head.
        device_map: Spreads the model over several devices.
        **weights: Further options of ``from_pretrained``: ``attn_implementation``,
            ``quantization_config``.

    Raises:
        MissingExtraError: ``transformers`` or ``torch`` is not installed.
        ConfigurationError: ``dtype`` or ``device`` is not known.
        ModelLoadError: The files are missing, damaged, incomplete, or not of a generative model.
    """
    transformers = extra("transformers", "transformers")
    extra("torch", "transformers")
    source = str(unpacked_gguf(Path(model))) if model.endswith(".gguf") else weights_of(model)
    place = chosen_device(device)
    options: dict[str, Any] = {"revision": revision, "token": token, "trust_remote_code": False}
    try:
        with quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(source, **options)
            if auto != "AutoModel":
                _require_generative(model, config)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
            quantised = "quantization_config" in weights or hasattr(config, "quantization_config")
            if quantised and device_map is None:
                device_map = {"": place}  # such models cannot be moved after loading
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
            "config.json and safetensors weights, or a .gguf file. Models that bring code are "
            "refused.",
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise incomplete_checkpoint(model, missing)
    return loaded.eval(), tokenizer


def missing_weights(kind: Any, model: str, **options: Any) -> list[str]:
    """Find the tensors that a checkpoint lacks: libraries only log that they fill them in.

    Args:
        kind: The class of ``transformers`` that will load it.
        model: A hub id or a folder.
        **options: Of ``from_pretrained``.

    Returns:
        The tensors' names.
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


def incomplete_checkpoint(model: str, missing: list[str]) -> ModelLoadError:
    """The error of a checkpoint that lacks these tensors."""
    return ModelLoadError(
        f"the weights of {model!r} lack {len(missing)} tensors, {missing[0]} among them",
        hint="They would be random numbers, and so would every score.",
    )


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a hub id, a folder or a ``.gguf`` file, without running its code.

    Raises:
        MissingExtraError: ``transformers`` is not installed.
        ModelLoadError: It has no tokenizer.
    """
    transformers = extra("transformers", "transformers")
    folder = str(unpacked_gguf(Path(source))) if source.endswith(".gguf") else weights_of(source)
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
    """Unpack a GGUF file into a folder of safetensors, once, and keep that in the cache.

    Unpacking takes far longer than loading the result, which is in float32 and therefore
    several times the file's size. The cache is ``huggingface_hub``'s assets folder.

    Returns:
        The folder.

    Raises:
        ModelLoadError: The file does not exist or cannot be read.
    """
    transformers = extra("transformers", "transformers")
    extra("gguf", "transformers")
    hub = extra("huggingface_hub", "transformers")
    if not path.is_file():
        raise ModelLoadError(f"there is no file {str(path)!r}")
    cache = hub.cached_assets_path(library_name="rerank-plugins", namespace="gguf")
    target = Path(cache) / f"{path.stem}-{digest(path)[:16]}-{transformers.__version__}"
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
        # The tensors are dequantised by now, but these marks would prevent saving.
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer, model.is_quantized = None, False
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _require_generative(model: str, config: Any) -> None:
    architectures = config.architectures or []
    if architectures and not any(a.endswith(_GENERATIVE) for a in architectures):
        raise ModelLoadError(
            f"{model!r} is a {architectures[0]}, not a causal language model or another model "
            "that writes text",
            hint="Its language-model head would be random numbers.",
        )


def chosen_device(device: str) -> str:
    """Check a torch device; for ``"auto"``, find the best one.

    Raises:
        ConfigurationError: This machine has no such device.
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
            f"there is no device {device!r} on this machine: {first_line(error):.80}",
            hint="Try 'cpu' or 'auto'.",
        ) from error
    return device


def chosen_dtype(dtype: str, device: str) -> Any:
    """Find a torch dtype by name; for ``"auto"``, the one that suits the device.

    Raises:
        ConfigurationError: torch has no such dtype.
    """
    import torch  # checked by the caller

    if dtype == "auto":
        # A CPU without bfloat16 instructions is two to seven times slower in bfloat16.
        return torch.float32 if device == "cpu" else "auto"
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise ConfigurationError(f"there is no dtype {dtype!r}", hint="Try 'float32' or 'auto'.")
    return found


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Hide progress bars while this thread loads a model.

    They are settings of the process: the first of the threads that load at the same time hides
    them, and the last one restores what the caller had set.
    """
    with _bars:
        if not _loading:
            # transformers' GGUF reader has a bar that the setting does not reach.
            reader = import_module("transformers.modeling_gguf_pytorch_utils")
            if bar := getattr(reader, "tqdm", None):
                _restore.callback(setattr, reader, "tqdm", bar)
                vars(reader)["tqdm"] = partial(bar, disable=True)
            logging = transformers.utils.logging
            if logging.is_progress_bar_enabled():
                _restore.callback(logging.enable_progress_bar)
                logging.disable_progress_bar()
        _loading.append(threading.get_ident())
    try:
        yield
    finally:
        with _bars:
            _loading.remove(threading.get_ident())
            if not _loading:
                _restore.close()


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
