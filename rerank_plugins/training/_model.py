"""The model that is trained: how it is loaded, what it ranks with meanwhile, how it is saved."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._extras import extra
from ..backends import TransformersBackend
from ..backends._local.loading import (
    chosen_device,
    chosen_dtype,
    first_line,
    load_language_model,
    quiet,
)
from ..backends._prompts.renderer import Renderer
from ..calls import Batch, Call, Replies, Reply
from ..errors import InputError, ModelLoadError
from ..handlers import AnyBackend
from ..presets import HERE, find_preset, is_saved, preset_parts
from ..ranking import Strategy
from ._batches import Collator
from ._encoding import EncodedList, PairEncoder, PromptEncoder
from ._objectives import Kind
from ._settings import Lora, TrainingOptions
from .data import TrainingList

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Encode = Callable[[TrainingList], EncodedList]
_NO_LIMIT = 1_000_000


@dataclass(frozen=True, eq=False)
class Trainee:
    """A model under training, with all that depends on its kind.

    Attributes:
        model: What the trainer trains: the model, or a PEFT model around it.
        tokenizer: Its tokenizer.
        encode: From lists to token ids.
        backend: Answers a strategy's questions with the weights as they are now.
        base: What it began as.
    """

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    encode: Encode
    backend: AnyBackend
    base: str


def load_trainee(
    base: str, strategy: Strategy, kind: Kind, options: TrainingOptions, *, write: bool
) -> Trainee:
    """A model ready to be trained for a strategy.

    Raises:
        ModelLoadError: The model cannot be loaded.
        InputError: An option does not go with the model.
    """
    extra("transformers", "train").set_seed(options.seed)  # a new head is random
    load = _classifier if kind == "classifier" else _language_model
    model, tokenizer = load(_weights(base), options)
    context = _context(model, tokenizer, options.context_tokens)
    renderer = Renderer(tokenizer)
    trained = _with_lora(model, options.lora, kind) if options.lora else model
    if kind == "classifier":
        pairs = PairEncoder(strategy, renderer, context)
        collate = Collator(tokenizer.pad_token_id or 0, classifier=True)
        return Trainee(trained, tokenizer, pairs, PairScores(trained, pairs, collate), base)
    encode = PromptEncoder(strategy, renderer, context, write=write)
    backend = TransformersBackend(model, tokenizer=tokenizer, context_tokens=context)
    return Trainee(trained, tokenizer, encode, backend, base)


def _weights(base: str) -> str:
    """Where the weights of a base are: our own models, and what was trained here, go by name."""
    if not is_saved(base) and "package" not in (find_preset(base) or ()):
        return base
    _, backend = preset_parts(base)
    if backend.get("adapter") is not None:
        raise InputError(
            f"{base!r} is an adapter, and cannot be trained further",
            hint=f"Train the model under it, {str(backend['model'])!r}.",
        )
    return str(backend["model"])


def _language_model(base: str, options: TrainingOptions) -> tuple[Any, Any]:
    model, tokenizer = load_language_model(base, device=options.device, dtype=options.dtype)
    return model.train(), tokenizer


def _classifier(base: str, options: TrainingOptions) -> tuple[Any, Any]:
    """A classifier of one label: with the checkpoint's own head, or a new one on any encoder."""
    transformers = extra("transformers", "train")
    place = chosen_device(options.device)
    if base.endswith(".gguf"):
        raise InputError("a GGUF file is a language model and cannot be a cross-encoder's base")
    try:
        with quiet(transformers), _new_head(transformers):
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
    if tokenizer.pad_token_id is None:  # Llama's classifiers have none
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.to(place).train(), tokenizer


@contextmanager
def _new_head(transformers: Any) -> Iterator[None]:
    """No report on a head that the checkpoint lacks: it is what will be trained."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _with_lora(model: "PreTrainedModel", lora: Lora, kind: Kind) -> Any:
    peft = extra("peft", "train")
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha or 2 * lora.rank,
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules) if lora.modules else "all-linear",
        task_type="SEQ_CLS" if kind == "classifier" else "CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"no adapter fits this model: {first_line(error)}") from error


def _context(model: Any, tokenizer: Any, asked: int | None) -> int:
    """Tokens of prompt and target at most."""
    own = min(
        getattr(model.config, "max_position_embeddings", None) or _NO_LIMIT,
        tokenizer.model_max_length or _NO_LIMIT,
    )
    if asked is not None and asked > own:
        raise InputError(f"context_tokens is {asked}, and the model's limit is {own}")
    return asked or own


@dataclass(frozen=True, eq=False)
class PairScores:
    """Answers `ScorePair` with a classifier that is being trained."""

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
                found += self._scored(calls[start : start + self.batch_size])
        self.model.train(training)
        return found

    def _scored(self, calls: Sequence[Call[Any]]) -> list[Reply[float]]:
        one = EncodedList(tuple(map(self.encode.pair, calls)), (0.0,), (0.0,))
        batch = self.collate([[one]])
        inputs = {k: v.to(self.model.device) for k, v in batch.items() if k in _PAIR_INPUTS}
        return [Reply(float(x)) for x in self.model(**inputs).logits[:, 0]]


_PAIR_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def saved_backend(
    trainee: Trainee, folder: Path, kind: Kind, context: int | None
) -> dict[str, Any]:
    """Write the weights into ``folder``, and say which backend opens them.

    An adapter of a language model is saved alone, beside the name of its base; a classifier's is
    merged into the weights.
    """
    model = trainee.model
    adapter = hasattr(model, "peft_config")
    if kind == "classifier" and adapter:
        model, adapter = model.merge_and_unload(), False
    with quiet(extra("transformers", "train")):
        model.save_pretrained(folder)
        if not adapter:
            trainee.tokenizer.save_pretrained(folder)
    if kind == "classifier":
        limit = getattr(trainee.encode, "context_tokens", None)
        return {"name": "cross-encoder", "model": HERE, "max_tokens": limit}
    spec = {"context_tokens": context} if context else {}
    local = Path(trainee.base)  # opened from anywhere later on
    base = str(local.resolve()) if local.exists() else trainee.base
    where = {"model": base, "adapter": HERE} if adapter else {"model": HERE}
    return {"name": "transformers", **where, **spec}


def base_shape(model: Any) -> dict[str, Any]:
    """What tells one base model from another, for the manifest."""
    names = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
    found: dict[str, Any] = json.loads(
        json.dumps({n: getattr(model.config, n, None) for n in names})
    )
    return found
