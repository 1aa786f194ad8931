"""Exported encoders, under onnxruntime: token ids in, hidden states out."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from ..._files import digest
from ...errors import ModelLoadError
from .configuration import positions
from .files import CONFIG, Exported, Precision, find_exported
from .projection import PROJECTED
from .session import Device, Session
from .tokens import FILE, Row, Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]

_STATES = ("last_hidden_state", "token_embeddings", "hidden_states")
_A_VECTOR_A_TOKEN = 3
"""Dimensions of such an output: texts, tokens, and the vector."""


class OnnxEncoder:
    """An encoder that onnxruntime runs. Not safe to share between threads without a lock.

    It is what `rerank_plugins.backends._late` calls hidden states. Each text runs alone, where the
    device is a CPU: its states do not depend on other texts.

    Args:
        files: The model's files.
        session: Its weights.
        tokens: Its tokenizer.
        projected: Whether vectors of tokens are wanted as late interaction compares them: those
            that a linear map of the hidden states gives, where the weights have one.

    Raises:
        ModelLoadError: The weights have no output of one vector a token.
    """

    def __init__(
        self, files: Exported, session: Session, tokens: Tokens, *, projected: bool = False
    ) -> None:
        self._files, self._session, self._tokens = files, session, tokens
        outputs = session.outputs
        wanted = (PROJECTED, *_STATES) if projected else _STATES
        name = next((name for name in wanted if name in outputs), None)
        if name is None or len(outputs[name]) != _A_VECTOR_A_TOKEN:
            raise ModelLoadError(
                f"{files.name!r} is not an encoder: its weights give {', '.join(outputs)}, and not "
                "last_hidden_state",
                hint="Export the encoder: `rerank-plugins export MODEL FOLDER`.",
            )
        self._output = name

    @classmethod
    def of(
        cls, files: Exported, *, device: Device, threads: int | None, projected: bool = False
    ) -> "OnnxEncoder":
        """Load the encoder of these files."""
        tokens = Tokens(files)
        session = Session(files, device, threads, tokens.padding)
        return cls(files, session, tokens, projected=projected)

    @property
    def limit(self) -> int:
        """Tokens that the model reads at most, with special ones."""
        stated = self._tokens.stated_limit
        return min(positions(self._files.values(CONFIG, needed=True)), stated)

    @cached_property
    def key(self) -> str:
        """A digest of the weights, the tokenizer and the arithmetic."""
        folder = self._files.folder
        parts = [self._files.weights, folder / FILE, folder / "tokenizer_config.json"]
        parts += [folder / "special_tokens_map.json", *self._files.external]
        found = [digest(path) for path in parts if path.is_file()]
        return hashlib.sha256(f"onnx-1 {found}".encode()).hexdigest()

    @cached_property
    def dim(self) -> int:
        """The length of a hidden state."""
        stated = self._session.outputs[self._output][-1]
        if isinstance(stated, int):
            return stated
        return int(self.states([[*self.around[0], *self.around[1]] or [0]])[0].shape[-1])

    @property
    def around(self) -> tuple[Sequence[int], Sequence[int]]:
        """The special tokens before and after a text, such as those of ``[CLS]`` and ``[SEP]``."""
        return self._tokens.around

    def ids(self, text: str) -> Sequence[int]:
        """The tokens of a text without special ones; none of them is a control token."""
        return self._tokens.ids(text)

    def states(self, sequences: Sequence[Sequence[int]]) -> "Sequence[Floats]":
        """The last hidden states, shape ``(len(sequence), dim)`` for each sequence, in order."""
        rows = [Row(ids, [0] * len(ids)) for ids in sequences]
        if self._session.on_cpu:
            return [self._session.run([row], self._output)[0] for row in rows]
        found = self._session.run(rows, self._output)
        return [states[: len(row.ids)] for states, row in zip(found, rows, strict=True)]


def load_encoder(
    model: str,
    *,
    precision: Precision = "auto",
    device: Device = "auto",
    threads: int | None = None,
    revision: str | None = None,
    token: Callable[[], str | None] = lambda: None,
) -> OnnxEncoder:
    """Load an exported encoder; arguments and errors as of `OnnxCrossEncoderBackend`."""
    files = find_exported(model, precision, revision=revision, token=token)
    return OnnxEncoder.of(files, device=device, threads=threads)
