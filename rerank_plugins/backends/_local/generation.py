"""Text that a causal language model writes."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ..._threads import abandoned
from ...calls import Completion, Generate
from .._answers.orders import OrderReader
from .forward import Forward
from .questions import Question

if TYPE_CHECKING:
    import torch

Written = tuple[list[int], "list[torch.Tensor]"]
"""The tokens that follow a prompt, and their logits if the call asks for log-probabilities."""


@dataclass(frozen=True, slots=True)
class Text(Question):
    """`Generate`: the answer is the text that the model writes.

    Args:
        encoded: The prompt's tokens.
        call: The call.
        tokenizer: The model's.
        ends: Tokens that end an answer.
    """

    call: Generate
    tokenizer: Any
    ends: Sequence[int]

    @property
    def room(self) -> int:
        return self.call.max_tokens

    @property
    def settings(self) -> tuple[Any, ...]:
        """Decoding settings: prompts that run together have the same."""
        call = self.call
        # Greedy decoding has no others.
        sampling = (call.temperature, call.top_p, call.top_k, call.seed) if call.temperature else ()
        return (call.max_tokens, call.stop, call.logprobs, sampling)

    def config(self, pad_id: int) -> Any:
        """The settings as transformers takes them."""
        call, sampled = self.call, self.call.temperature > 0
        return extra("transformers", "transformers").GenerationConfig(
            max_new_tokens=call.max_tokens,
            do_sample=sampled,
            temperature=call.temperature if sampled else None,
            top_p=call.top_p if sampled else None,
            top_k=call.top_k if sampled else None,
            eos_token_id=list(self.ends),
            pad_token_id=pad_id,
            stop_strings=list(call.stop) or None,
            output_logits=call.logprobs,
            return_dict_in_generate=True,
        )

    def read(self, output: Written) -> tuple[Completion, int]:
        new, logits = output
        stop = next((i for i, token in enumerate(new) if token in self.ends), None)
        written = new if stop is None else new[: stop + 1]
        text = self.text_of(written)
        cut = self._stopped_at(text)
        if cut is not None:  # what follows is padding, where other rows of the batch went on
            ended = partial(self._ends_within, written)
            written = written[: bisect_left(range(len(written)), True, key=ended) + 1]
        finished = stop is not None or cut is not None or len(written) < self.call.max_tokens
        tokens = tuple(
            (str(self.tokenizer.decode([token])), float(row.float().log_softmax(-1)[token]))
            for token, row in zip(written, logits, strict=False)
        )
        return Completion(text[:cut], "stop" if finished else "length", tokens), len(written)

    def _stopped_at(self, text: str) -> int | None:
        """The place at which the first of the stop strings begins in a text."""
        return min((text.find(s) for s in self.call.stop if s in text), default=None)

    def _ends_within(self, tokens: Sequence[int], place: int) -> bool:
        """Whether the tokens up to this one have a stop string."""
        return self._stopped_at(self.text_of(tokens[: place + 1])) is not None

    def text_of(self, tokens: Any) -> str:
        """The text of tokens that the model wrote."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def generate(forward: Forward, asked: Sequence[Text]) -> list[Written]:
    """Let the model write the answers to questions that have the same settings."""
    import torch

    first, sampled = asked[0], asked[0].call.temperature > 0
    inputs = forward.inputs([question.ids for question in asked], positions=False)
    mask = {"attention_mask": inputs["input_ids"].new_ones(inputs["input_ids"].shape)}
    start = inputs["input_ids"].shape[1]
    readers = [OrderReader.of(question.call, question.encoded.text) for question in asked]
    lengths: dict[int, int] = {}  # of the answers that were ended

    def ended(ids: "torch.Tensor", _scores: Any, **_options: Any) -> "torch.Tensor":
        for i, reader in enumerate(readers):
            tokens = ids[i, start:]
            if i in lengths or reader is None:
                continue
            if reader.complete(len(tokens), partial(first.text_of, tokens)):
                lengths[i] = len(tokens)
        every = abandoned()
        return ids.new_tensor([every or i in lengths for i in range(len(ids))]).bool()

    with torch.random.fork_rng(enabled=sampled):
        if sampled and first.call.seed is not None:
            torch.manual_seed(first.call.seed)
        # The argument overrides the checkpoint's own sampling defaults.
        output = forward.model.generate(
            **{**mask, **inputs},
            generation_config=first.config(forward.pad_id),
            tokenizer=first.tokenizer,
            stopping_criteria=[ended],
        )
    written = [row[: lengths.get(i)] for i, row in enumerate(output.sequences[:, start:].tolist())]
    logits = output.logits if first.call.logprobs else ()
    return [(row, [step[i] for step in logits]) for i, row in enumerate(written)]
