"""Cross-encoders and sequence classifiers, through sentence-transformers."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from ..._checks import at_least, one_of
from ..._extras import extra
from ..._shipped import weights_of
from ..._threads import abandoned
from ...calls import Call, Reply, ScorePair
from ...errors import CallError, InputError, ModelLoadError, ModelOutputError, PromptTooLongError
from .._base import SECRET, Answers, LocalModel, Table, in_order, prepared
from .._prompts.renderer import Renderer
from .forward import within_memory
from .limits import NO_LIMIT, require_embeddings, require_positions
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
        max_tokens: Tokens of query and passage together, at most the model's positions; the model's
            own limit when None. Longer pairs are cut; replies say so, and the first time the log.
        query_template: The form of a query that the model was trained on, with ``{query}``.
        passage_template: The form of a passage, with ``{passage}``.
        batch_size: Pairs that run together, where the device is not a CPU.
        revision: The hub revision.
        token: For private models: the token, or a function that gives it. Never shown.

    Raises:
        InputError: An argument is out of range; ``max_tokens`` when the model is loaded.
        MissingExtraError, ModelLoadError, ConfigurationError: When the model is loaded. A
            checkpoint without a head that scores pairs, such as a language model, is refused.

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
        at_least(1, batch_size=self.batch_size)
        at_least(1, none=True, max_tokens=self.max_tokens)
        if "{query}" not in self.query_template or "{passage}" not in self.passage_template:
            raise InputError("the templates need the fields {query} and {passage}")

    def _load(self) -> "_Loaded":
        model: Any = self._read(self.model) if isinstance(self.model, str) else self.model
        if (labels := getattr(model, "num_labels", 1)) != 1:
            raise ModelLoadError(
                f"{self!r} has {labels} labels, and a relevance score is one number",
                hint="Use a model that was trained to score pairs.",
            )
        head = list(model)[-1]
        answers = [getattr(head, f"{answer}_token_id", None) for answer in ("true", "false")]
        known = {i for i in answers if i is not None} - {model.tokenizer.unk_token_id}
        if len(known) < sum(i is not None for i in answers):
            raise ModelLoadError(
                f"the vocabulary of {self!r} lacks the answers whose logits are the score",
                hint="Use a model that was trained to score pairs.",
            )
        config = model[0].model.config.get_text_config()
        known_tokens = getattr(config, "vocab_size", None)
        require_embeddings(repr(self), model.tokenizer.vocab_size, known_tokens)
        templates = (self.query_template, self.passage_template)
        return _Loaded(model, self.max_tokens, self.batch_size, templates)

    def classifier(self) -> Any:
        """The loaded model, where it is one module: a classifier of transformers.

        Raises:
            ModelLoadError: It has a head that is a module of its own, or a chat template.
        """
        loaded = self._ready()
        if len(loaded._model) != 1:
            kinds = ", ".join(type(module).__name__ for module in loaded._model)
            raise ModelLoadError(f"{self!r} is no sequence classifier alone: it is made of {kinds}")
        return loaded._model[0]

    def _read(self, name: str) -> "CrossEncoder":
        extra("torch", "transformers")
        transformers = extra("transformers", "transformers")
        library = extra("sentence_transformers", "cross-encoder")
        place = chosen_device(self.device)
        weights = {"use_safetensors": True, "dtype": chosen_dtype(self.dtype, place)}
        source = {"revision": self.revision, "token": self._hub_token()}
        weights_at = weights_of(name)
        try:
            with quiet(transformers):
                found: CrossEncoder = library.CrossEncoder(
                    weights_at,
                    device=place,
                    trust_remote_code=False,
                    max_length=self.max_tokens,
                    backend=self.engine,
                    model_kwargs=weights if self.engine == "torch" else {},
                    **source,
                )
                saved = _saved_modules(weights_at, transformers, source)
                invented = {type(module).__name__ for module in list(found)[1:]} - set(saved)
                missing = [] if invented else self._missing(found, transformers, source)
        except Exception as error:
            raise ModelLoadError(
                f"cannot load the cross-encoder {name!r}: {first_line(error)}",
                hint="Give a hub id that this machine can reach or has in its cache, or a folder "
                "with config.json and safetensors weights. Models that bring code are refused.",
            ) from error
        if invented:
            raise ModelLoadError(
                f"{name!r} is a {type(found[0].model).__name__} that was not made for scoring "
                "pairs: its scores would be random numbers",
                hint="Use a classifier, a causal reranker of sentence-transformers, or "
                "TransformersBackend with a strategy that asks a language model.",
            )
        if missing:
            raise incomplete_checkpoint(name, missing)
        return found

    def _missing(self, model: Any, transformers: Any, source: dict[str, Any]) -> list[str]:
        """The weights that the checkpoint lacks: the library only logs that it fills them in."""
        config = model[0].model.config
        kind: Any = type(model[0].model)
        # Another head is a module of its own, loaded from its own file.
        if len(model) != 1 and not kind.__name__.endswith("ForCausalLM"):
            return []
        if self.engine != "torch":
            kind = getattr(transformers, (config.architectures or [""])[0], None)
        try:
            return missing_weights(kind, weights_of(str(self.model)), config=config, **source)
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


def _saved_modules(name: str, transformers: Any, source: dict[str, Any]) -> list[str]:
    """The names of the modules that a model of sentence-transformers was saved with."""
    path = transformers.utils.cached_file(
        name,
        "modules.json",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **source,
    )
    entries = json.loads(Path(path).read_text("utf-8")) if path else []
    return [entry["type"].rpartition(".")[2] for entry in entries]


def _give_padding(model: Any) -> bool:
    """Give tokenizer and model one padding token, and say whether there is any.

    A decoder's classifier reads the score at the last token that is not padding, which therefore
    must not be the token that ends every pair.
    """
    tokenizer, config = model.tokenizer, model[0].model.config.get_text_config()
    stated = getattr(config, "pad_token_id", None)
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    if stated is not None and stated >= 0:
        tokenizer.pad_token = special.get(stated, tokenizer.pad_token)
        return True
    ends = {ids[-1] for ids in tokenizer(["a", "b"], ["a", "b"])["input_ids"]}
    last = ends.pop() if len(ends) == 1 else None
    wanted = [tokenizer.pad_token_id, tokenizer.eos_token_id, *special]
    padding = next((i for i in wanted if i in special and i != last), None)
    # Llama's classifiers have none; sentence-transformers needs one even for one pair.
    tokenizer.pad_token = special.get(padding, tokenizer.pad_token or special.get(last))
    config.pad_token_id = padding
    return padding is not None


class _Loaded:
    """A loaded cross-encoder and its tokenizer."""

    def __init__(
        self, model: Any, max_tokens: int | None, batch_size: int, templates: tuple[str, str]
    ) -> None:
        tokenizer = model.tokenizer
        self._model, self._templates = model, templates
        self._batch_size = batch_size if _give_padding(model) else 1
        self._renderer = Renderer(tokenizer)
        own = model.max_seq_length or tokenizer.model_max_length
        limit = require_positions("max_tokens", max_tokens, model[0].model)
        self._limit = int(min(limit, own or NO_LIMIT))
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
        if self._limit < NO_LIMIT:
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
