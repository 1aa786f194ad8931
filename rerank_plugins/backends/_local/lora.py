"""LoRA adapters: small files that change a language model's weights."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ..._shipped import weights_of
from ...errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def with_adapter(
    model: "PreTrainedModel", adapter: str, *, token: str | None = None
) -> "PreTrainedModel":
    """Merge a LoRA adapter into a model's weights, so that it runs as fast as without.

    Quantised weights are not changed: the adapter is kept beside them.

    Args:
        model: The model that the adapter was trained on. It is changed.
        adapter: A hub id or a folder.
        token: For private adapters.

    Raises:
        MissingExtraError: ``peft`` is not installed.
        ModelLoadError: The files are missing, or were made for another model.
    """
    peft = extra("peft", "adapters")
    folder = adapter_folder(adapter, token)
    try:
        config = peft.PeftConfig.from_pretrained(folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            wrapped: Any = peft.PeftModel.from_pretrained(model, folder, config=config)
        quantised = getattr(model, "is_quantized", False)
        found = wrapped.get_base_model() if quantised else wrapped.merge_and_unload()
    except Exception as error:
        raise _misfit(adapter, str(error)) from error
    if missing := [str(w.message) for w in caught if "missing adapter keys" in str(w.message)]:
        raise _misfit(adapter, missing[0])
    merged: PreTrainedModel = found.eval()
    return merged


def _misfit(adapter: str, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"cannot put the adapter {adapter!r} on this model: {reason[:200]}",
        hint="Give a LoRA adapter, and the model that it was trained on.",
    )


def adapter_folder(adapter: str, token: str | None) -> str:
    """Find the folder of an adapter's two files, or download them.

    Weights in other formats than safetensors are never read.

    Raises:
        ModelLoadError: A file is missing, or the hub has no such adapter.
    """
    folder = Path(weights_of(adapter))
    if not folder.is_dir():
        hub = extra("huggingface_hub", "transformers")
        try:
            wanted = [CONFIG, _WEIGHTS]
            folder = Path(hub.snapshot_download(adapter, allow_patterns=wanted, token=token))
        except Exception as error:
            raise ModelLoadError(
                f"there is no adapter {adapter!r}",
                hint="Give a folder, or a hub id that this machine can reach or has in its cache.",
            ) from error
    for name in (CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise ModelLoadError(
                f"the adapter {adapter!r} has no {name}",
                hint="Weights in other formats than safetensors are not loaded.",
            )
    return str(folder)
