"""The states of a language model in this process, as vectors."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..._checks import at_least
from ..._extras import extra
from ..._loading import loading
from ..._shipped import weights_of
from ..._threads import abandoned
from ...calls import Call, Embed, Vectors
from ...errors import ModelLoadError, ModelOutputError
from .._base import SECRET, Answers, LocalModel, Table, in_order, prepared, require_room
from .._prompts.renderer import Renderer
from .engine import Engine
from .forward import within_memory
from .limits import pads_exactly
from .loading import check_source, first_line, load_language_model
from .questions import Question
from .sharing import Group

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WEIGHTS = "model.safetensors"


@dataclass(eq=False, repr=False, kw_only=True)
class EmbeddingBackend(LocalModel["States"]):
    """Answers `Embed` with the states of a language model in this process.

    For models that were trained to give vectors to several texts of one prompt, or to a whole
    prompt: listwise embedding rerankers. The language model is a stock one of transformers, without
    its head, and no code that comes with the weights is run. Text from queries and passages can
    never become a control token, so it cannot write a mark. One instance may be shared by threads:
    they take turns.

    Args:
        model: A hub id, a folder, a ``.gguf`` file, or a loaded model without a language-model head
            together with its ``tokenizer``.
        tokenizer: Only beside a loaded model.
        projector: The name of a projector among the checkpoint's tensors, two matrices ``NAME.0``
            and ``NAME.2`` with a ReLU between them, through which every state goes. None: states as
            they are.
        device: ``"auto"`` (CUDA, then Apple's MPS, then CPU) or a torch device.
        dtype: ``"auto"`` (float32 on a CPU, the checkpoint's own elsewhere) or a torch dtype.
        context_tokens: Tokens of a prompt at most; the model's own limit when None.
        max_batch_tokens: Tokens that run together, padding included; see `TransformersBackend`.
        attention: transformers' ``attn_implementation``; its own choice when None.
        revision: The hub revision.
        token: For private models: the token, or a function that gives it. Never shown.
        chat_template: A Jinja template instead of the tokenizer's own.
        template_options: Variables for the template, such as ``{"enable_thinking": False}``.

    Raises:
        InputError: An argument is out of range; ``context_tokens`` when the model is loaded.
        MissingExtraError, ModelLoadError, ConfigurationError: When the model is loaded; also where
            the projector's matrices are missing or do not fit.

    Examples:
        >>> EmbeddingBackend("jinaai/jina-reranker-v3", projector="projector")  # nothing is loaded
        EmbeddingBackend('jinaai/jina-reranker-v3', device='auto', dtype='auto')
    """

    kinds: ClassVar[frozenset[type[Call[Any]]]] = frozenset({Embed})

    model: "str | Path | PreTrainedModel" = field(kw_only=False)
    tokenizer: "PreTrainedTokenizerBase | None" = None
    projector: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    context_tokens: int | None = None
    max_batch_tokens: int | None = None
    attention: str | None = None
    revision: str | None = None
    token: "str | Callable[[], str | None] | None" = field(default=None, metadata=SECRET)
    chat_template: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(
            1, none=True, context_tokens=self.context_tokens, max_batch_tokens=self.max_batch_tokens
        )
        check_source(self, ("projector", "attention"))

    def _load(self) -> "States":
        model: Any = self.model
        tokenizer: Any = self.tokenizer
        matrices = None
        if isinstance(model, str):
            token = self._hub_token()
            model, tokenizer = load_language_model(
                model,
                device=self.device,
                dtype=self.dtype,
                revision=self.revision,
                token=token,
                auto="AutoModel",
                **({} if self.attention is None else {"attn_implementation": self.attention}),
            )
            if self.projector is not None:
                names = (f"{self.projector}.0.weight", f"{self.projector}.2.weight")
                source = {"revision": self.revision, "token": token}
                matrices = _projector(str(self.model), names, source, model)
        if getattr(model.config, "is_encoder_decoder", False):
            raise ModelLoadError(
                f"{self!r} has an encoder and a decoder, and the states of a decoder are wanted",
                hint="Use a causal language model.",
            )
        renderer = Renderer(
            tokenizer, chat_template=self.chat_template, options=self.template_options
        )
        model.train(False)  # no dropout
        return States(model, renderer, self.context_tokens, self.max_batch_tokens, matrices)


@dataclass(frozen=True, slots=True)
class Marks(Question):
    """`Embed`: ``places`` are the positions whose states are wanted."""

    places: list[int]
    room = 0

    @classmethod
    def prepare(cls, call: Embed, renderer: Renderer) -> Self:
        marks = renderer.control_ids(call.marks)
        encoded = renderer.encode(call.prompt)
        if not call.marks:
            return cls(encoded, [len(encoded.ids) - 1])
        return cls(encoded, [i for i, token in enumerate(encoded.ids) if token in marks])

    def read(self, output: "torch.Tensor") -> tuple[Vectors, int]:
        if not bool(output.isfinite().all()):
            raise ModelOutputError(
                "the model's states are not numbers", hint="Try dtype='float32'."
            )
        return Vectors(tuple(map(tuple, output.float().tolist()))), 0


class States(Engine):
    """A loaded model without a language-model head, and its projector. Not safe to share."""

    def __init__(
        self,
        model: "PreTrainedModel",
        renderer: Renderer,
        context_tokens: int | None,
        max_batch_tokens: int | None,
        projector: "tuple[torch.Tensor, torch.Tensor] | None",
    ) -> None:
        super().__init__(model, renderer, context_tokens, max_batch_tokens, share_prefix=False)
        self._projector = projector

    @property
    def table(self) -> Table:
        return {Embed: self.embed}

    def embed(self, calls: Sequence[Embed]) -> Answers:
        """Answer calls with the states at their marks."""
        found, replies = prepared(calls, self._marked)
        questions: dict[int, Question] = dict(found)
        for chosen in self._batches(Group(tuple(questions)), questions):
            if abandoned():
                break
            asked = [found[i] for i in chosen]
            with within_memory(replies, chosen, "Lower max_batch_tokens, or use smaller blocks."):
                states = self.forward.states([question.ids for question in asked])
                for i, question, row in zip(chosen, asked, states, strict=True):
                    padding = len(row) - len(question.ids)
                    wanted = row[[padding + place for place in question.places]]
                    replies[i] = question.reply(self._projected(wanted))
        return in_order(replies, calls)

    def _marked(self, call: Embed) -> Marks:
        question = Marks.prepare(call, self.renderer)
        require_room(len(question.ids), self.context)
        return question

    def _projected(self, states: "torch.Tensor") -> "torch.Tensor":
        if self._projector is None:
            return states
        first, second = self._projector
        projected: torch.Tensor = (states @ first.T).relu() @ second.T
        return projected

    @cached_property
    def _pads(self) -> bool:
        with loading():
            return pads_exactly(self.forward, self.context, states=True)


def _projector(
    name: str, tensors: tuple[str, str], source: dict[str, Any], model: "PreTrainedModel"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Read the two matrices of a projector, in the precision of the model and on its device.

    Raises:
        ModelLoadError: They are missing, or do not fit the model or each other.
    """
    try:
        found = _read(name, tensors, source)
    except Exception as error:
        raise ModelLoadError(
            f"cannot read the projector of {name!r}: {first_line(error)}",
            hint="Give a model whose weights are safetensors.",
        ) from error
    if missing := [tensor for tensor in tensors if tensor not in found]:
        raise ModelLoadError(
            f"the weights of {name!r} have no {missing[0]}",
            hint="Without its projector the model cannot compare texts: use the whole checkpoint.",
        )
    first, second = (found[tensor].to(model.device, model.dtype) for tensor in tensors)
    width = model.config.get_text_config().hidden_size
    if (
        first.ndim != 2
        or second.ndim != 2
        or first.shape[1] != width
        or second.shape[1] != len(first)
    ):
        raise ModelLoadError(
            f"the projector of {name!r} has shapes {tuple(first.shape)} and {tuple(second.shape)}, "
            f"which do not fit states of {width} numbers"
        )
    return first, second


def _read(name: str, tensors: Sequence[str], source: dict[str, Any]) -> "dict[str, torch.Tensor]":
    """Read those of the tensors that a checkpoint has."""
    from safetensors import safe_open  # a dependency of transformers

    cached_file: Any = extra("transformers", "transformers").utils.cached_file

    files: dict[str, str] = dict.fromkeys(tensors, _WEIGHTS)
    place = weights_of(name)
    if index := cached_file(
        place, f"{_WEIGHTS}.index.json", _raise_exceptions_for_missing_entries=False, **source
    ):
        shards = json.loads(Path(index).read_text("utf-8"))["weight_map"]
        files = {tensor: shards[tensor] for tensor in tensors if tensor in shards}
    found: dict[str, torch.Tensor] = {}
    for file in dict.fromkeys(files.values()):
        with safe_open(cached_file(place, file, **source), framework="pt") as weights:
            held = set(weights.keys())
            found |= {
                t: weights.get_tensor(t) for t in tensors if files.get(t) == file and t in held
            }
    return found
