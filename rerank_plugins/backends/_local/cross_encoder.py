"""Cross-encoders and sequence classifiers, through sentence-transformers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from ..._checks import at_least, one_of
from ..._extras import extra
from ..._threads import abandoned
from ...calls import Call, Reply, ScorePair
from ...errors import CallError, InputError, ModelLoadError, ModelOutputError, PromptTooLongError
from .._base import SECRET, Answers, LocalModel, Table, in_order, prepared
from .._prompts.renderer import Renderer
from .forward import within_memory
from .loading import (
    chosen_device,
    chosen_dtype,
    first_line,
    incomplete_checkpoint,
    missing_weights,
    quiet,
)

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Engine = Literal["torch", "onnx", "openvino"]
_NO_LIMIT = 1 << 30
_SEAMS = 2
"""Tokens that a text may grow by where it meets a template."""


@dataclass(eq=False, repr=False, kw_only=True)
class CrossEncoderBackend(LocalModel["_Loaded"]):
    """Answers `ScorePair` with the raw logit of a classifier that reads query and passage together.

    No sigmoid is applied: probabilities of good passages saturate, and then they tie. Text from
    queries and passages can never become a control token such as ``[SEP]``. One instance may be
    shared by threads: they take turns.

    Args:
        model: A hub id, a folder, or a loaded ``CrossEncoder``.
        engine: The backend of sentence-transformers: ``"torch"``, ``"onnx"`` or ``"openvino"``. The
            latter two need its extras, and export the model if its folder has no exported one.
        device: ``"auto"`` (CUDA, then Apple's MPS, then CPU) or a torch device.
        dtype: ``"auto"`` (float32 on a CPU, the checkpoint's own elsewhere) or a torch dtype; only
            for torch.
        max_tokens: Tokens of query and passage together; the model's own limit when None. Longer
            pairs are cut, and the reply says so.
        query_template: The form of a query that the model was trained on, with ``{query}``.
        passage_template: The form of a passage, with ``{passage}``.
        batch_size: Pairs that run together, where the device is not a CPU.
        revision: The hub revision.
        token: For private models: the token, or a function that gives it. Never shown.

    Raises:
        InputError: An argument is out of range.
        MissingExtraError, ModelLoadError, ConfigurationError: When the model is loaded.

    Examples:
        >>> CrossEncoderBackend("cross-encoder/ms-marco-MiniLM-L6-v2")  # nothing is loaded yet
        CrossEncoderBackend('cross-encoder/ms-marco-MiniLM-L6-v2', device='auto', dtype='auto')
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({ScorePair})

    model: "str | Path | CrossEncoder" = field(kw_only=False)
    engine: Engine = "torch"
    device: str = "auto"
    dtype: str = "auto"
    max_tokens: int | None = None
    query_template: str = "{query}"
    passage_template: str = "{passage}"
    batch_size: int = 32
    revision: str | None = None
    token: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise InputError("model is None", hint="Give a hub id, a folder or a CrossEncoder.")
        one_of("engine", self.engine, get_args(Engine))
        at_least(1, max_tokens=self.max_tokens, batch_size=self.batch_size)
        if "{query}" not in self.query_template or "{passage}" not in self.passage_template:
            raise InputError("the templates need the fields {query} and {passage}")

    def _load(self) -> "_Loaded":
        model = self._read(self.model) if isinstance(self.model, str) else self.model
        if (labels := getattr(model, "num_labels", 1)) != 1:
            raise ModelLoadError(
                f"{self!r} has {labels} labels, and a relevance score is one number",
                hint="Use a model that was trained to score pairs.",
            )
        templates = (self.query_template, self.passage_template)
        return _Loaded(model, self.max_tokens, self.batch_size, templates)

    def _read(self, name: str) -> "CrossEncoder":
        extra("torch", "transformers")
        transformers = extra("transformers", "transformers")
        library = extra("sentence_transformers", "cross-encoder")
        place = chosen_device(self.device)
        weights = {"use_safetensors": True, "dtype": chosen_dtype(self.dtype, place)}
        source = {"revision": self.revision, "token": self._hub_token()}
        try:
            with quiet(transformers):
                found: CrossEncoder = library.CrossEncoder(
                    name,
                    device=place,
                    trust_remote_code=False,
                    max_length=self.max_tokens,
                    backend=self.engine,
                    model_kwargs=weights if self.engine == "torch" else {},
                    **source,
                )
                missing = self._missing(found, transformers, source)
        except Exception as error:
            raise ModelLoadError(
                f"cannot load the cross-encoder {name!r}: {first_line(error)}",
                hint="Give a hub id that this machine can reach or has in its cache, or a folder "
                "with config.json and safetensors weights. Models that bring code are refused.",
            ) from error
        if missing:
            raise incomplete_checkpoint(name, missing)
        return found

    def _missing(self, model: Any, transformers: Any, source: dict[str, Any]) -> list[str]:
        """The weights that the checkpoint lacks: the library only logs that it fills them in."""
        if len(model) != 1:  # the head is a module of its own, loaded from its own file
            return []
        config = model[0].model.config
        kind: Any = type(model[0].model)
        if self.engine != "torch":
            kind = getattr(transformers, (config.architectures or [""])[0], None)
        try:
            return missing_weights(kind, str(self.model), config=config, **source)
        except OSError:
            if self.engine == "torch":
                raise
            return []  # the folder has an exported model only, and that is complete


@dataclass(frozen=True, slots=True)
class _Pair:
    """The texts that the model reads, their number of tokens, and whether they were cut."""

    query: str
    passage: str
    tokens: int
    cut: bool = False

    def reply(self, logit: float) -> Reply[float] | CallError:
        if not math.isfinite(logit):
            return ModelOutputError(f"the model's score is {logit}", hint="Try dtype='float32'.")
        return Reply(logit, self.tokens, 0, (0,) if self.cut else ())


class _Loaded:
    """A loaded cross-encoder and its tokenizer."""

    def __init__(
        self, model: Any, max_tokens: int | None, batch_size: int, templates: tuple[str, str]
    ) -> None:
        self._model, self._batch_size, self._templates = model, batch_size, templates
        tokenizer = model.tokenizer
        if tokenizer.pad_token_id is None:  # Llama's classifiers have none
            tokenizer.pad_token = tokenizer.eos_token
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        self._renderer = Renderer(tokenizer)
        own = model.max_seq_length or tokenizer.model_max_length
        self._limit = int(min(max_tokens or _NO_LIMIT, own or _NO_LIMIT))
        # Causal rerankers put the pair into a chat template, of which nothing may be cut.
        whole = len(model.preprocess([("a", "a")])["input_ids"][0])
        self._template_tokens = whole - self._tokens("a", "a")

    @property
    def table(self) -> Table:
        return {ScorePair: self.score}

    def score(self, calls: Sequence[ScorePair]) -> Answers:
        """The logit of each pair."""
        import torch

        pairs, replies = prepared(calls, self._prepare)
        on_cpu = torch.device(self._model.device).type == "cpu"
        # On a CPU, padding saves no time and moves scores.
        size = 1 if on_cpu else self._batch_size
        where = list(pairs)
        own_limit = self._model.max_seq_length  # restored, as the model may be the caller's
        if self._limit < _NO_LIMIT:
            self._model.max_seq_length = self._limit
        try:
            for start in range(0, len(where), size):
                if abandoned():
                    break
                chosen = where[start : start + size]
                with within_memory(replies, chosen, "Lower batch_size or max_tokens."):
                    logits = self._model.predict(
                        [(pairs[i].query, pairs[i].passage) for i in chosen],
                        batch_size=size,
                        activation_fn=torch.nn.Identity(),
                        show_progress_bar=False,
                    )
                    for i, logit in zip(chosen, logits, strict=True):
                        replies[i] = pairs[i].reply(float(logit))
        finally:
            self._model.max_seq_length = own_limit
        return in_order(replies, calls)

    def _prepare(self, call: ScorePair) -> _Pair:
        """Escape the texts, and shorten the passage where a template has no room for it.

        Raises:
            PromptTooLongError: The query alone is too long for that.
        """
        # Replaced and not formatted: braces in a passage stay braces.
        asked, judged = self._templates
        query = self._renderer.escape(asked.replace("{query}", str(call.query)))
        passage = self._renderer.escape(judged.replace("{passage}", str(call.passage)))
        tokens = self._tokens(query, passage) + self._template_tokens
        excess = tokens - self._limit
        if excess <= 0:
            return _Pair(query, passage, tokens)
        if self._template_tokens <= 0:  # the tokenizer itself cuts what is too long
            return _Pair(query, passage, self._limit, cut=True)
        tokenizer = self._renderer.tokenizer
        ids = tokenizer(passage, add_special_tokens=False, verbose=False)["input_ids"]
        kept = len(ids) - excess - _SEAMS
        if kept < 1:
            raise PromptTooLongError(excess, limit=self._limit)
        return _Pair(query, str(tokenizer.decode(ids[:kept])), self._limit - _SEAMS, cut=True)

    def _tokens(self, *texts: str) -> int:
        return len(self._renderer.tokenizer(*texts, verbose=False)["input_ids"])
