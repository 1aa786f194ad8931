"""Plain encoders, through transformers and torch: token ids in, hidden states out."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..._extras import extra
from ...errors import BackendError, ModelLoadError
from .._local.limits import positions, require_embeddings
from .._local.loading import (
    chosen_device,
    chosen_dtype,
    first_line,
    incomplete_checkpoint,
    missing_weights,
    quiet,
)
from .._prompts.renderer import Renderer
from .checkpoint import Read, file_reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Floats: TypeAlias = NDArray[np.float32]

_CONTENT = "a"
_NOT_COMPUTED_WITH = ("_name_or_path", "architectures", "dtype", "transformers_version")
"""Values of a configuration that change no vector; the type is that of the tensors."""


class TorchEncoder:
    """The hidden states of an encoder. Not safe to share between threads without a lock.

    Args:
        model: The encoder, in evaluation mode.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self._model: Any = model  # its methods are untyped
        self._renderer = Renderer(tokenizer)

    @property
    def model(self) -> Any:
        """The encoder itself."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self._renderer.tokenizer

    @cached_property
    def key(self) -> str:
        """A digest of the weights, the tokenizer and the arithmetic."""
        return f"torch-1 {weights_digest(self._model)} {tokenizer_digest(self.tokenizer)}"

    @property
    def dim(self) -> int:
        """The length of a hidden state."""
        return int(self._model.config.get_text_config().hidden_size)

    @property
    def limit(self) -> int:
        """Tokens that the model reads at most, with special ones."""
        return int(min(positions(self._model), self.tokenizer.model_max_length))

    @cached_property
    def around(self) -> tuple[Sequence[int], Sequence[int]]:
        """The special tokens before and after a text."""
        bare = self._tokens(_CONTENT, special=False)
        whole = self._tokens(_CONTENT, special=True)
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return whole[:at], whole[at + len(bare) :]
        return (), ()

    def ids(self, text: str) -> Sequence[int]:
        """The tokens of a text without special ones; none of them is a control token.

        Raises:
            CallError: Control tokens in it cannot be escaped.
        """
        return self._tokens(self._renderer.escape(text), special=False)

    def states(self, sequences: Sequence[Sequence[int]]) -> "list[Floats]":
        """The last hidden states of each sequence, shape ``(len(sequence), dim)``.

        On a CPU each runs alone: padding saves no time there, and moves the states.

        Raises:
            BackendError: The device ran out of memory.
        """
        import torch

        together = 1 if self._model.device.type == "cpu" else len(sequences)
        found = list["Floats"]()
        try:
            with torch.inference_mode():
                for start in range(0, len(sequences), max(1, together)):
                    found += self._forward(sequences[start : start + together])
        except torch.OutOfMemoryError as error:
            raise BackendError(
                "the device ran out of memory", hint="Lower batch_size or max_tokens."
            ) from error
        return found

    def _forward(self, rows: Sequence[Sequence[int]]) -> "list[Floats]":
        import torch

        longest = max(map(len, rows))
        padding = self.tokenizer.pad_token_id or 0
        filled = [[*row, *[padding] * (longest - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        place = self._model.device
        states = self._model(
            input_ids=torch.tensor(filled, device=place),
            attention_mask=torch.tensor(mask, device=place),
        ).last_hidden_state
        whole: Floats = states.float().cpu().numpy()
        return [own[: len(row)] for own, row in zip(whole, rows, strict=True)]

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])


def load_torch_encoder(
    name: str, *, device: str, dtype: str, revision: str | None, token: str | None
) -> TorchEncoder:
    """Load an encoder from a hub id or a folder; no code that comes with it is run.

    Raises:
        MissingExtraError: transformers or torch is not installed.
        ConfigurationError: ``dtype`` or ``device`` is not known.
        ModelLoadError: The files are missing, damaged or incomplete.
    """
    transformers = extra("transformers", "transformers")
    extra("torch", "transformers")
    place = chosen_device(device)
    source: dict[str, Any] = {"revision": revision, "token": token, "trust_remote_code": False}
    wanted = chosen_dtype(dtype, place)
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(name, **source)
            model = transformers.AutoModel.from_pretrained(
                name, dtype=wanted, use_safetensors=True, **source
            )
            own = {"config": model.config, "revision": revision, "token": token}
            missing = missing_weights(type(model), name, **own)
    except Exception as error:
        raise unloadable(name, error) from error
    # The pooler is a layer of BERT's that sentence encoders do not use.
    if missing := [tensor for tensor in missing if not tensor.startswith("pooler.")]:
        raise incomplete_checkpoint(name, missing)
    known_tokens = getattr(model.config.get_text_config(), "vocab_size", None)
    require_embeddings(repr(name), tokenizer.vocab_size, known_tokens)
    return TorchEncoder(model.to(place).eval(), tokenizer)


def unloadable(name: str, error: Exception) -> ModelLoadError:
    """The error of an encoder that cannot be loaded."""
    return ModelLoadError(
        f"cannot load the encoder {name!r}: {first_line(error)}",
        hint="Give a hub id that this machine can reach or has in its cache, or a folder with "
        "config.json, a tokenizer and safetensors weights.",
    )


def hub_reader(name: str, revision: str | None, token: str | None) -> Read:
    """A function that reads the JSON files of a hub id or a folder.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = extra("transformers", "transformers")

    def read(file: str) -> Any:
        try:
            path = transformers.utils.cached_file(
                name,
                file,
                revision=revision,
                token=token,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        except OSError as error:
            raise unloadable(name, error) from error
        return file_reader(name, Path(path).parent)(Path(path).name) if path else {}

    return read


def weights_digest(model: Any) -> str:
    """The SHA-256 of a model's tensors with their names, and of its configuration."""
    import torch

    found = hashlib.sha256(_stated(model).encode())
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        data = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(data.view(torch.uint8).numpy().data if data.numel() else b"")
    return found.hexdigest()


def _stated(model: Any) -> str:
    """The values of a model's configuration that are not its class's own, such as its heads.

    Another release of transformers, with more values, says the same.
    """
    configs = (getattr(module, "config", None) for module in model.modules())
    config = next((found for found in configs if hasattr(found, "get_text_config")), None)
    if config is None:
        return ""
    config = config.get_text_config()
    try:
        usual = type(config)().to_dict()
    except (AttributeError, KeyError, TypeError, ValueError):  # a class that needs arguments
        usual = {}
    own = {k: v for k, v in config.to_dict().items() if k not in usual or v != usual[k]}
    for name in _NOT_COMPUTED_WITH:
        own.pop(name, None)
    return json.dumps(own, sort_keys=True, default=repr)


def tokenizer_digest(tokenizer: Any) -> str:
    """The SHA-256 of what a tokenizer does."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    stated = inner.to_str() if inner else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(stated.encode()).hexdigest()
