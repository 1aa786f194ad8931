"""A causal language model in this process, through Hugging Face transformers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..._checks import at_least
from ...calls import Attend, Call, Generate, Likelihood, NextToken, Prompt
from ...errors import InputError
from .._base import SECRET, LocalModel
from .._prompts.renderer import Renderer
from .engine import Engine
from .limits import require_words
from .loading import check_source, load_language_model
from .lora import with_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_OF_LOADING = ("device_map", "quantization", "attention", "compile", "adapter")


@dataclass(eq=False, repr=False, kw_only=True)
class TransformersBackend(LocalModel[Engine]):
    """Answers `NextToken`, `Generate`, `Likelihood` and `Attend` with a model in this process.

    The model is loaded at the first call, or by `warm_up`. Prompts go through the tokenizer's
    own chat template; only the logits that are needed are computed; text
    from queries and passages can never become a control token. One instance may be shared by
    threads: they take turns.

    Args:
        model: A hub id, a folder, a ``.gguf`` file (unpacked once, see `unpacked_gguf`), or a
            loaded model together with its ``tokenizer``.
        tokenizer: Only beside a loaded model.
        device: ``"auto"`` (CUDA, then Apple's MPS, then CPU) or a torch device.
        dtype: ``"auto"`` (float32 on a CPU, the checkpoint's own elsewhere) or a torch dtype.
        context_tokens: Prompt and answer together at most; the model's own limit when None.
        max_batch_tokens: Tokens that run together, padding included; a longer prompt runs alone.
            None: 16,384 on an accelerator; on a CPU one prompt at a time, where batches gain
            nothing and change log-probabilities by about 1e-5, because sums are taken in another
            order.
        share_prefix: Compute the beginning that prompts of a batch share (instruction and query)
            once for all of them; scores then change by about 1e-5 too. Models that it would change
            more are detected and run without it, with a warning. The rest of the prompts runs
            together, on a CPU 512 tokens at a time where ``max_batch_tokens`` is None.
        device_map: Spreads a model over several devices, as accelerate does: ``"auto"``, or a
            dictionary from modules to devices.
        quantization: The arguments of transformers' ``quantization_config``, such as
            ``{"quant_method": "bitsandbytes", "load_in_4bit": True}``. Checkpoints that are
            quantised already need none.
        attention: transformers' ``attn_implementation``, such as ``"sdpa"`` or
            ``"flash_attention_2"``; its own choice when None.
        compile: Compile the model with ``torch.compile``: its first passes take minutes, later ones
            less time.
        adapter: A LoRA adapter (a hub id or a folder) to merge into the weights.
        revision: The hub revision.
        token: For private models on the hub: the token, or a function that gives it, called when
            the model is loaded. Never shown, and never written into a spec.
        chat_template: A Jinja template instead of the tokenizer's own.
        template_options: Variables for the template, such as ``{"enable_thinking": False}``.

    Raises:
        InputError: An argument is out of range; ``context_tokens`` when the model is loaded.
        MissingExtraError, ModelLoadError, ConfigurationError: When the model is loaded.

    Examples:
        >>> backend = TransformersBackend("folder/with/a/model", max_batch_tokens=8192)
        >>> backend  # nothing is loaded yet
        TransformersBackend('folder/with/a/model', device='auto', dtype='auto')
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset(
        {NextToken, Generate, Likelihood, Attend}
    )

    model: "str | Path | PreTrainedModel" = field(kw_only=False)
    tokenizer: "PreTrainedTokenizerBase | None" = None
    device: str = "auto"
    dtype: str = "auto"
    context_tokens: int | None = None
    max_batch_tokens: int | None = None
    share_prefix: bool = True
    device_map: str | Mapping[str, Any] | None = None
    quantization: Mapping[str, Any] | None = None
    attention: str | None = None
    compile: bool = False
    adapter: str | Path | None = None
    revision: str | None = None
    token: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)
    chat_template: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(
            1, none=True, context_tokens=self.context_tokens, max_batch_tokens=self.max_batch_tokens
        )
        if isinstance(self.adapter, Path):
            self.adapter = str(self.adapter)
        check_source(self, _OF_LOADING)
        if self.device_map is not None and self.device != "auto":
            raise InputError("device and device_map both say where the model goes: give one")

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The token ids that the model gets for a prompt, for tests and debugging."""
        with self._turn:
            return self._ready().renderer.encode(prompt).ids

    def _load(self) -> Engine:
        model: Any = self.model
        tokenizer: Any = self.tokenizer
        if isinstance(model, str):
            token = self._hub_token()
            weights: dict[str, Any] = {
                "attn_implementation": self.attention,
                "quantization_config": self.quantization and dict(self.quantization),
            }
            model, tokenizer = load_language_model(
                model,
                device=self.device,
                dtype=self.dtype,
                revision=self.revision,
                token=token,
                device_map=self.device_map,
                **{name: value for name, value in weights.items() if value is not None},
            )
            if self.adapter is not None:
                model = with_adapter(model, str(self.adapter), token=token)
            if self.compile:
                model.compile(dynamic=True)  # prompts have all lengths
        require_words(model, encoder=False)
        renderer = Renderer(
            tokenizer, chat_template=self.chat_template, options=self.template_options
        )
        model.train(False)  # no dropout
        return Engine(
            model, renderer, self.context_tokens, self.max_batch_tokens, self.share_prefix
        )
