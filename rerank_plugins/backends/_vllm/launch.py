"""The start of a vLLM engine: its arguments, defaults for a CPU, and a LoRA adapter."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ..._shipped import weights_of
from ...errors import ModelLoadError
from .._local.loading import (
    first_line,
    incomplete_checkpoint,
    missing_weights,
    quiet,
    unpacked_gguf,
)
from .._local.lora import CONFIG, adapter_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CPU_CACHE_BYTES = 2 << 30
"""Memory for the KV cache on a CPU; vLLM would take most of the machine's memory."""
CPU_BLOCK_TOKENS = 32
"""Tokens in a block of the KV cache on a CPU. A prefix shorter than a block is never shared, and
vLLM's default of 128 is longer than many instructions."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def start_vllm(
    model: str,
    arguments: Mapping[str, Any],
    *,
    adapter: str | None,
    revision: str | None,
    token: str | None,
) -> "tuple[Any, PreTrainedTokenizerBase, Any]":
    """Start a ``vllm.LLM``; also return the tokenizer, and the adapter's ``LoRARequest`` or None.

    Args:
        model: A hub id, a folder or a ``.gguf`` file.
        arguments: Arguments of ``vllm.LLM``: they take precedence over the defaults chosen here.
        adapter: A folder or a hub id.
        revision: The hub revision of the model.
        token: The token for the hub.

    Raises:
        MissingExtraError: ``vllm`` is not installed.
        ModelLoadError: It cannot start with this model.
    """
    vllm = extra("vllm", "vllm")
    transformers = extra("transformers", "vllm")
    source = str(unpacked_gguf(Path(model))) if model.endswith(".gguf") else weights_of(model)
    chosen = _defaults(arguments)
    lora = None
    try:
        if adapter is not None:
            folder = adapter_folder(adapter, token)
            rank = int(json.loads((Path(folder) / CONFIG).read_text("utf-8"))["r"])
            room = next((size for size in _RANKS if size >= rank), rank)
            chosen |= {"enable_lora": True, "max_lora_rank": room}
            lora = extra("vllm.lora.request", "vllm").LoRARequest("adapter", 1, folder)
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                source, revision=revision, token=token, trust_remote_code=False
            )
            _check_complete(model, source, revision=revision, token=token)
        llm = vllm.LLM(source, **(chosen | dict(arguments)), revision=revision, hf_token=token)
    except ModelLoadError:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"vLLM cannot load the model {model!r}: {first_line(error)}",
            hint="Its own messages say why. It needs a hub id or a folder with safetensors, memory "
            "for the weights and the KV cache (less of it with context_tokens), and a script that "
            'starts under `if __name__ == "__main__":`.',
        ) from error
    return llm, tokenizer, lora


def _check_complete(model: str, source: str, **options: Any) -> None:
    """Refuse a checkpoint with missing tensors: vLLM accepts linear layers without weights.

    Models that transformers doesn't know, and those with quantised weights, are not checked here.

    Raises:
        ModelLoadError: Tensors are missing.
    """
    transformers = extra("transformers", "vllm")
    config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    if kind is None or hasattr(config, "quantization_config"):
        return
    if missing := missing_weights(kind, source, config=config, **options):
        raise incomplete_checkpoint(model, missing)


def _defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults for arguments that the caller did not give."""
    chosen: dict[str, Any] = {
        "load_format": "safetensors",
        "trust_remote_code": False,
        "use_tqdm_on_load": False,
    }
    if "VLLM_LOGGING_LEVEL" not in os.environ:
        chosen["log_level"] = "ERROR"
    if arguments.get("runner") == "generate":
        chosen["enable_prefix_caching"] = True
    if extra("vllm.platforms", "vllm").current_platform.is_cpu():
        # Compiling takes longer than it saves. In vLLM itself, the environment variable
        # VLLM_CPU_KVCACHE_SPACE takes precedence over the argument.
        chosen |= {"dtype": "float32", "enforce_eager": True, "block_size": CPU_BLOCK_TOKENS}
        if "gpu_memory_utilization" not in arguments:
            chosen["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    return chosen
