"""The model under training: how it is loaded, what it ranks with meanwhile, how it is saved."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._extras import extra
from .._shipped import weights_of
from ..backends import TransformersBackend
from ..backends._late.checkpoint import published
from ..backends._late.encoding import PlainEncoder, Recipe
from ..backends._late.packing import pack, similarity
from ..backends._late.torch_encoder import hub_reader, load_torch_encoder
from ..backends._local.limits import NO_LIMIT, positions
from ..backends._local.loading import (
    chosen_device,
    chosen_dtype,
    first_line,
    load_language_model,
    quiet,
)
from ..backends._prompts.renderer import Renderer
from ..calls import Batch, Replies, Reply, ScorePair
from ..errors import InputError, ModelLoadError
from ..handlers import AnyBackend
from ..presets import THIS_FOLDER, find_preset, is_saved, preset_parts
from ..ranking import Strategy
from ._batches import MODEL_INPUTS, Collator
from ._encoding import EncodedList, PairEncoder, PromptEncoder, TokenVectorEncoder
from ._objectives import Kind
from ._settings import Lora, TrainingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_SHORT = 192
"""Tokens of a text up to which written-out attention trains faster on a CPU."""


@dataclass(frozen=True, eq=False)
class Trainee:
    """A model under training, with all that depends on its kind.

    Attributes:
        model: The model for the trainer, or a PEFT model around it.
        tokenizer: Its tokenizer.
        kind: How its logits become scores.
        encode: From lists to token ids.
        collate: From token ids to batches.
        backend: Answers a strategy's questions with the current weights.
        base: The name or folder of the model before training.
    """

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    kind: Kind
    encode: PromptEncoder | PairEncoder | TokenVectorEncoder
    collate: Collator
    backend: AnyBackend
    base: str


def load_trainee(
    base: str, strategy: Strategy, kind: Kind, options: TrainingOptions, *, write: bool
) -> Trainee:
    """Load a model, ready to be trained for a strategy.

    Raises:
        ModelLoadError: The model cannot be loaded.
        InputError: An option does not go with the model.
    """
    extra("transformers", "train").set_seed(options.seed)  # a new head is random
    if options.dtype == "auto" and options.lora is None:  # steps are finer than 16 bits
        options = replace(options, dtype="float32")
    source = _weights(base)
    if kind == "late-interaction":
        return _token_encoder(base, source, strategy, options)
    if kind == "classifier":
        model, tokenizer = _classifier(source, options)
    else:
        model, tokenizer = load_language_model(source, device=options.device, dtype=options.dtype)
        model.train()
    _set_dropout(model, options.dropout)
    own = int(min(positions(model), tokenizer.model_max_length or NO_LIMIT))
    context = options.context_tokens or own
    if context > own:
        raise InputError(f"context_tokens is {context}, and the model's limit is {own}")
    renderer = Renderer(tokenizer)
    collate = Collator(tokenizer.pad_token_id or 0, classifier=kind == "classifier")
    trained = _with_lora(model, options.lora, kind) if options.lora else model
    if kind == "classifier":
        pairs = PairEncoder(strategy, renderer, context)
        scores = PairScores(trained, pairs, collate)
        return Trainee(trained, tokenizer, kind, pairs, collate, scores, base)
    encode = PromptEncoder(strategy, renderer, context, write=write)
    backend = TransformersBackend(model, tokenizer=tokenizer, context_tokens=context)
    return Trainee(trained, tokenizer, kind, encode, collate, backend, base)


def _token_encoder(base: str, source: str, strategy: Strategy, options: TrainingOptions) -> Trainee:
    """An encoder whose tokens' vectors are compared, read as `LateInteractionBackend` reads it.

    Raises:
        InputError: ``context_tokens`` is more than the encoder was trained to read.
    """
    at = {"revision": None, "token": None}
    stated = published(source, hub_reader(source, **at))
    if stated.colbert:
        raise InputError(
            f"{base!r} is a ColBERT checkpoint, whose markers and masks are not trained here",
            hint="Train a plain encoder, such as sentence-transformers/all-MiniLM-L6-v2.",
        )
    hidden = load_torch_encoder(source, device=options.device, dtype=options.dtype, **at)
    own = min(stated.part_tokens or hidden.limit, hidden.limit)
    context = options.context_tokens or own
    if context > own:
        raise InputError(f"context_tokens is {context}, and the encoder reads {own} at most")
    before, after = map(len, hidden.around)
    recipe = Recipe(
        part_tokens=context,
        max_tokens=context - before - after,  # one part
        query_prefix=stated.query_prefix,
        passage_prefix=stated.passage_prefix,
    )
    model = _written_out(hidden.model, context).train()
    _set_dropout(model, options.dropout)
    trained = _with_lora(model, options.lora, "late-interaction") if options.lora else model
    encoder = PlainEncoder(hidden, recipe)
    encode = TokenVectorEncoder(strategy, encoder, context)
    collate = Collator(hidden.tokenizer.pad_token_id or 0, classifier=True)
    backend = TokenScores(trained, encoder)
    kind: Kind = "late-interaction"
    return Trainee(trained, hidden.tokenizer, kind, encode, collate, backend, base)


def _weights(base: str) -> str:
    """The source of a base's weights: our own models, and folders of earlier runs, go by name."""
    if not is_saved(base) and "package" not in (find_preset(base) or ()):
        return base
    _, backend = preset_parts(base)
    if backend.get("adapter") is not None:
        raise InputError(
            f"{base!r} is an adapter, and cannot be trained further",
            hint=f"Train the model under it, {str(backend['model'])!r}.",
        )
    return weights_of(str(backend["model"]))


def _classifier(base: str, options: TrainingOptions) -> tuple[Any, Any]:
    """A classifier of one label: with the checkpoint's own head, or a new one on any encoder."""
    transformers = extra("transformers", "train")
    logging = transformers.utils.logging
    place, verbosity = chosen_device(options.device), logging.get_verbosity()
    if base.endswith(".gguf"):
        raise InputError("a GGUF file is a language model and cannot be a cross-encoder's base")
    logging.set_verbosity_error()  # no report on a head that the checkpoint lacks
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(base, trust_remote_code=False)
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                base,
                num_labels=1,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=chosen_dtype(options.dtype, place),
            )
    except Exception as error:
        raise ModelLoadError(
            f"cannot load {base!r} as a classifier: {first_line(error)}",
            hint="Give a hub id or a folder with safetensors weights of an encoder.",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    if tokenizer.pad_token_id is None:  # Llama's classifiers have none
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return _written_out(model.to(place), options.context_tokens).train(), tokenizer


def _written_out(model: Any, tokens: int | None) -> Any:
    """The model with its attention written out, where a CPU reads short texts.

    The backward pass of torch's fused attention has a cost of its own there: with 160 tokens and no
    dropout a step of all-MiniLM-L6-v2 takes a quarter longer with it, with 512 it takes half as
    long. Prompts of language models are too long.
    """
    if model.device.type == "cpu" and tokens and tokens <= _SHORT:
        model.set_attn_implementation("eager")
    return model


def _set_dropout(model: Any, share: float | None) -> None:
    """Drop another share while training than the checkpoint says; its own where None."""
    if share is None:
        return
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share


_TASKS: Mapping[Kind, str] = {"classifier": "SEQ_CLS", "late-interaction": "FEATURE_EXTRACTION"}
"""PEFT's names of what is not a language model."""


def _with_lora(model: "PreTrainedModel", lora: Lora, kind: Kind) -> Any:
    peft = extra("peft", "train")
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha or 2 * lora.rank,
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules) if lora.modules else "all-linear",
        task_type=_TASKS.get(kind, "CAUSAL_LM"),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"no adapter fits this model: {first_line(error)}") from error


@dataclass(frozen=True, eq=False)
class PairScores:
    """Answers `ScorePair` with a classifier under training."""

    model: Any
    encode: PairEncoder
    collate: Collator
    batch_size: int = 16

    def run(self, calls: Batch) -> Replies:
        """Answer a batch."""
        found: list[Reply[float]] = []
        training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(calls), self.batch_size):
                rows = tuple(map(self.encode.pair, calls[start : start + self.batch_size]))
                batch = self.collate([[EncodedList(rows, (0.0,), (0.0,))]])
                given = {k: batch[k].to(self.model.device) for k in MODEL_INPUTS if k in batch}
                found += [Reply(float(x)) for x in self.model(**given).logits[:, 0]]
        self.model.train(training)
        return found


@dataclass(frozen=True, eq=False)
class TokenScores:
    """Answers `ScorePair` by late interaction, with an encoder under training.

    Args:
        model: The model that is trained.
        encoder: Reads texts with it.
    """

    model: Any
    encoder: PlainEncoder

    def run(self, calls: Batch) -> Replies:
        """Answer a batch."""
        training = self.model.training
        self.model.eval()
        asked: dict[str, Any] = {}
        found: list[Reply[float]] = []
        for call in calls:
            if not isinstance(call, ScorePair):
                raise InputError(f"{type(call).__name__} is not a question to an encoder")
            if call.query not in asked:
                [asked[call.query]] = self.encoder.encode([call.query], "query")
            [passage] = self.encoder.encode([call.passage], "passage")
            found.append(Reply(similarity(asked[call.query].vectors, pack(passage, "float32"))))
        self.model.train(training)
        return found


def saved_backend(trainee: Trainee, folder: Path, context: int | None) -> dict[str, Any]:
    """Write the weights into ``folder``, and return the spec of the backend that opens them.

    An adapter of a language model is saved alone, with the name of its base in the spec; that of a
    classifier or an encoder is merged into the weights.
    """
    model, scores_pairs = trainee.model, trainee.kind in ("classifier", "late-interaction")
    adapter = hasattr(model, "peft_config")
    if scores_pairs and adapter:
        model, adapter = model.merge_and_unload(), False
    with quiet(extra("transformers", "train")):
        model.save_pretrained(folder)
        if not adapter:
            trainee.tokenizer.save_pretrained(folder)
    if trainee.kind == "late-interaction":
        _copy_stated(trainee.base, folder)
        return {"name": "late-interaction", "model": THIS_FOLDER}
    if scores_pairs:
        limit = trainee.encode.context_tokens
        return {"name": "cross-encoder", "model": THIS_FOLDER, "max_tokens": limit}
    spec = {"context_tokens": context} if context else {}
    local = Path(trainee.base)  # may be opened from another folder later
    base = str(local.resolve()) if local.exists() else trainee.base
    where = {"model": base, "adapter": THIS_FOLDER} if adapter else {"model": THIS_FOLDER}
    return {"name": "transformers", **where, **spec}


def _copy_stated(base: str, folder: Path) -> None:
    """Keep what the base states about the texts that it reads: prefixes, and tokens of a part."""
    read = hub_reader(_weights(base), None, None)
    for name in ("config_sentence_transformers.json", "sentence_bert_config.json"):
        if stated := read(name):
            (folder / name).write_text(json.dumps(stated, indent=2) + "\n", "utf-8")


def base_shape(model: Any) -> dict[str, Any]:
    """Return what tells one base model from another, for the manifest."""
    names = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
    found: dict[str, Any] = json.loads(
        json.dumps({n: getattr(model.config, n, None) for n in names})
    )
    return found
