"""An encoder-decoder model in this process: monoT5, Flan-T5."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..._checks import at_least
from ..._threads import abandoned
from ...calls import Call, NextToken
from ...errors import InputError, ModelLoadError
from .._base import SECRET, Answers, LocalModel, Table, in_order, prepared, require_room
from .._prompts.renderer import Renderer
from .forward import within_memory
from .limits import NO_LIMIT, require_positions, require_words
from .loading import load_language_model
from .questions import Labels

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

USUAL_CONTEXT = 512
"""Tokens that an encoder reads where neither the caller nor the tokenizer gives a limit."""


@dataclass(eq=False, repr=False, kw_only=True)
class Seq2SeqBackend(LocalModel["_Loaded"]):
    """Answers `NextToken` with the first tokens of a decoder.

    The encoder reads the prompt as plain text, or through the tokenizer's chat template where
    there is one. The prompt's prefill is the beginning of the decoder's answer. Text from queries
    and passages can never become a control token. One instance may be shared by threads: they take
    turns.

    Args:
        model: A hub id, a folder, or a loaded model together with its ``tokenizer``.
        tokenizer: Only beside a loaded model.
        device: ``"auto"`` (CUDA, then Apple's MPS, then CPU) or a torch device.
        dtype: ``"auto"`` (float32 on a CPU, the checkpoint's own elsewhere) or a torch dtype.
        context_tokens: Tokens the encoder reads at most; the tokenizer's limit when None.
        revision: The hub revision.
        token: For private models: the token, or a function that gives it. Never shown.

    Raises:
        InputError: An argument is out of range; ``context_tokens`` when the model is loaded.
        MissingExtraError, ModelLoadError, ConfigurationError: When the model is loaded.

    Examples:
        >>> Seq2SeqBackend("castorini/monot5-base-msmarco")  # nothing is loaded yet
        Seq2SeqBackend('castorini/monot5-base-msmarco', device='auto', dtype='auto')
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({NextToken})

    model: "str | Path | PreTrainedModel" = field(kw_only=False)
    tokenizer: "PreTrainedTokenizerBase | None" = None
    device: str = "auto"
    dtype: str = "auto"
    context_tokens: int | None = None
    revision: str | None = None
    token: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, none=True, context_tokens=self.context_tokens)
        if isinstance(self.model, str) == (self.tokenizer is not None):
            raise InputError("give a name or path, or a loaded model and its tokenizer")

    def _load(self) -> "_Loaded":
        model: Any = self.model
        tokenizer: Any = self.tokenizer
        if isinstance(model, str):
            model, tokenizer = load_language_model(
                model,
                device=self.device,
                dtype=self.dtype,
                revision=self.revision,
                token=self._hub_token(),
                auto="AutoModelForSeq2SeqLM",
            )
        require_words(model, encoder=True)
        model.train(False)  # no dropout
        own = tokenizer.model_max_length
        most = require_positions("context_tokens", self.context_tokens, model)
        limit = self.context_tokens or min(most, own if own < NO_LIMIT else USUAL_CONTEXT)
        start = getattr(model.config, "decoder_start_token_id", None)
        if start is None:
            raise ModelLoadError(
                f"{self!r} has no decoder_start_token_id",
                hint="Write it into the model's config.json; for a T5 it is 0.",
            )
        return _Loaded(model, Renderer(tokenizer), limit, start)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A loaded model. One prompt at a time: padding would change log-probabilities a little."""

    model: Any  # its methods are untyped
    renderer: Renderer
    context: int
    start: int

    @property
    def table(self) -> Table:
        return {NextToken: self.next_token}

    def next_token(self, calls: Sequence[NextToken]) -> Answers:
        import torch

        questions, replies = prepared(calls, self._prepare)
        device = self.model.device
        for i, (question, decoded) in questions.items():
            if abandoned():
                break
            with within_memory(replies, [i], "Use a smaller window or shorter passages."):
                logits = self.model(
                    input_ids=torch.tensor([question.ids], device=device),
                    decoder_input_ids=torch.tensor([decoded], device=device),
                ).logits
                replies[i] = question.reply(logits[0, -1:].float())
        return in_order(replies, calls)

    def _prepare(self, call: NextToken) -> tuple[Labels, list[int]]:
        """Encode the prompt for the encoder, and the beginning of the answer for the decoder."""
        renderer, prompt = self.renderer, call.prompt
        chat = prompt.chat and renderer.tokenizer.chat_template is not None
        encoded = renderer.encode(replace(prompt, chat=chat), prefill=False)
        require_room(len(encoded.ids), self.context)
        prefill = renderer.prefill(prompt)
        labels = renderer.labels(prompt, call.labels, prefill)
        written = renderer.tokenizer(prefill, add_special_tokens=False)["input_ids"]
        return Labels(encoded, labels), [self.start, *written]
