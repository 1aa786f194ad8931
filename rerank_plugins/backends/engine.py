"""A loaded causal language model and the three questions it can be asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..calls import (
    Call,
    Completion,
    ContinuationLogprob,
    Generate,
    LabelLogprobs,
    Likelihood,
    NextToken,
    Reply,
)
from ..errors import BackendError, CallError, ModelOutputError, PromptTooLongError
from ..handlers import abandoned
from .base import Answers, extra
from .batching import batches
from .rendering import Encoded, Renderer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

C = TypeVar("C", bound=Call[Any])
GPU_BATCH_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One call as the model sees it: its tokens, and how many at the end are of interest."""

    encoded: Encoded
    room: int

    @property
    def ids(self) -> list[int]:
        return self.encoded.ids


class Engine:
    """Answers batches with one model. Not safe to share between threads without a lock."""

    def __init__(
        self,
        model: "PreTrainedModel",
        renderer: Renderer,
        context_tokens: int | None,
        max_batch_tokens: int | None,
    ) -> None:
        self.model: Any = model  # its methods are untyped
        self.renderer = renderer
        self.context = min(context_tokens or _NO_LIMIT, _context(model, renderer.tokenizer))
        on_cpu = model.device.type == "cpu"
        self.batch_tokens = max_batch_tokens or (None if on_cpu else GPU_BATCH_TOKENS)

    def next_token(self, calls: Sequence[NextToken]) -> Answers:
        return self._answered(
            calls, lambda c: _Sequence(self.renderer.encode(c.prompt), 1), self._label_logprobs
        )

    def likelihood(self, calls: Sequence[Likelihood]) -> Answers:
        return self._answered(
            calls,
            lambda c: _Sequence(*self.renderer.split(c.prompt, c.continuation)),
            self._continuation_logprobs,
            written=False,
        )

    def generate(self, calls: Sequence[Generate]) -> Answers:
        return self._answered(
            calls, lambda c: _Sequence(self.renderer.encode(c.prompt), c.max_tokens), self._write
        )

    def _answered(
        self,
        calls: Sequence[C],
        prepare: Callable[[C], _Sequence],
        answer: Callable[[list[C], list[_Sequence]], list[Reply[Any]]],
        *,
        written: bool = True,
    ) -> Answers:
        """Prepare every call, run those that fit in batches, and put each reply in its place.

        ``written`` says whether a sequence's room comes on top of its tokens.
        """
        replies: dict[int, Reply[Any] | CallError] = {}
        sequences: dict[int, _Sequence] = {}
        for i, call in enumerate(calls):
            try:
                sequence = prepare(call)
            except CallError as error:
                replies[i] = error
                continue
            excess = len(sequence.ids) + written * sequence.room - self.context
            if excess > 0:
                replies[i] = PromptTooLongError(excess, limit=self.context)
            else:
                sequences[i] = sequence
        where = list(sequences)
        for group in batches([len(sequences[i].ids) for i in where], self.batch_tokens):
            chosen = [where[j] for j in group]
            if abandoned():
                given_up = BackendError("nobody waits for this answer any more")
                replies.update(dict.fromkeys(chosen, given_up))
                continue
            found = self._guarded(
                answer, [calls[i] for i in chosen], [sequences[i] for i in chosen]
            )
            replies.update(zip(chosen, found, strict=True))
        return [replies[i] for i in range(len(calls))]

    def _guarded(
        self,
        answer: Callable[[list[C], list[_Sequence]], list[Reply[Any]]],
        calls: list[C],
        sequences: list[_Sequence],
    ) -> Sequence[Reply[Any] | CallError]:
        """The answers, or the error of this batch for each of its calls."""
        import torch

        try:
            with torch.inference_mode():
                return answer(calls, sequences)
        except torch.OutOfMemoryError:
            hint = "Lower max_batch_tokens, use a smaller window or shorter passages."
            return [BackendError("the device ran out of memory", hint=hint) for _ in calls]
        except ModelOutputError as error:
            return [error for _ in calls]

    def _label_logprobs(
        self, calls: list[NextToken], sequences: list[_Sequence]
    ) -> list[Reply[LabelLogprobs]]:
        wanted = [  # before the forward pass: labels that cannot work should not cost one
            list(self.renderer.label_ids(sequence.encoded.text, self._spellings(call)))
            for call, sequence in zip(calls, sequences, strict=True)
        ]
        logprobs = self._logits(sequences, keep=1)[:, -1].log_softmax(-1)
        replies = []
        for call, sequence, ids, row in zip(calls, sequences, wanted, logprobs, strict=True):
            seen = dict(zip(call.labels, _numbers(row[ids]), strict=True))
            replies.append(_reply(LabelLogprobs(seen), sequence))
        return replies

    def _spellings(self, call: NextToken) -> tuple[str, ...]:
        return self.renderer.spellings(call.prompt, call.labels)

    def _continuation_logprobs(
        self, _calls: list[Likelihood], sequences: list[_Sequence]
    ) -> list[Reply[ContinuationLogprob]]:
        import torch

        logits = self._logits(sequences, keep=max(s.room for s in sequences) + 1)
        replies = []
        for sequence, rows in zip(sequences, logits, strict=True):
            n = sequence.room
            wanted = torch.tensor(sequence.ids[len(sequence.ids) - n :], device=rows.device)
            # The logits at one position predict the token at the next.
            logprobs = rows[-n - 1 : -1].log_softmax(-1).gather(-1, wanted[:, None])
            total = sum(_numbers(logprobs[:, 0]))
            replies.append(_reply(ContinuationLogprob(total, n), sequence))
        return replies

    def _logits(self, sequences: list[_Sequence], keep: int) -> "torch.Tensor":
        """Logits of the last ``keep`` positions, ``(sequences, keep, vocabulary)``, float32."""
        output = self.model(
            **self._inputs(sequences, positions=True), logits_to_keep=keep, use_cache=False
        )
        logits: torch.Tensor = output.logits
        return logits.float()

    def _inputs(self, sequences: list[_Sequence], *, positions: bool) -> dict[str, Any]:
        """Left-padded tensors on the model's device; no mask where there is no padding."""
        import torch

        longest = max(len(s.ids) for s in sequences)
        pad = self.renderer.tokenizer.pad_token_id or 0
        rows = [[pad] * (longest - len(s.ids)) + s.ids for s in sequences]
        ids = torch.tensor(rows, device=self.model.device)
        lengths = torch.tensor([[len(s.ids)] for s in sequences], device=self.model.device)
        if int(lengths.min()) == longest:
            return {"input_ids": ids}
        place = torch.arange(longest, device=self.model.device)[None] - (longest - lengths)
        inputs = {"input_ids": ids, "attention_mask": (place >= 0).long()}
        return {**inputs, "position_ids": place.clamp(min=0)} if positions else inputs

    def _write(self, calls: list[Generate], sequences: list[_Sequence]) -> list[Reply[Completion]]:
        # Decoding settings belong to a whole batch, so calls that differ in them run in turn.
        if len({_settings(call) for call in calls}) > 1:
            return [self._write([c], [s])[0] for c, s in zip(calls, sequences, strict=True)]
        import torch

        call = calls[0]
        with torch.random.fork_rng(enabled=call.temperature > 0):
            if call.temperature > 0 and call.seed is not None:
                torch.manual_seed(call.seed)
            output = self._decode(call, sequences)
        start = max(len(s.ids) for s in sequences)
        replies = []
        for i, sequence in enumerate(sequences):
            new = output.sequences[i, start:].tolist()
            scores = [step[i] for step in output.logits] if call.logprobs else []
            replies.append(self._completion(call, sequence, new, scores))
        return replies

    def _decode(self, call: Generate, sequences: list[_Sequence]) -> Any:
        tokenizer = self.renderer.tokenizer
        config = extra("transformers", "transformers").GenerationConfig(
            max_new_tokens=call.max_tokens,
            do_sample=call.temperature > 0,
            temperature=call.temperature if call.temperature > 0 else None,
            top_p=call.top_p if call.temperature > 0 else None,
            top_k=call.top_k if call.temperature > 0 else None,
            eos_token_id=self._end_ids(),
            pad_token_id=tokenizer.pad_token_id or 0,
            stop_strings=list(call.stop) or None,
            output_logits=call.logprobs,
            return_dict_in_generate=True,
        )

        def given_up(ids: "torch.Tensor", _scores: Any, **_options: Any) -> "torch.Tensor":
            return ids.new_full((len(ids),), abandoned()).bool()

        inputs = self._inputs(sequences, positions=False)
        mask = {"attention_mask": inputs["input_ids"].new_ones(inputs["input_ids"].shape)}
        # The argument overrides the checkpoint's own sampling defaults.
        return self.model.generate(
            **{**mask, **inputs},
            generation_config=config,
            tokenizer=tokenizer,
            stopping_criteria=[given_up],
        )

    def _end_ids(self) -> list[int]:
        own = getattr(self.model.generation_config, "eos_token_id", None)
        ids = [*own] if isinstance(own, list) else [own]
        return [
            i for i in dict.fromkeys([*ids, self.renderer.tokenizer.eos_token_id]) if i is not None
        ]

    def _completion(
        self, call: Generate, sequence: _Sequence, new: list[int], logits: "list[torch.Tensor]"
    ) -> Reply[Completion]:
        tokenizer, ends = self.renderer.tokenizer, set(self._end_ids())
        stop = next((i for i, token in enumerate(new) if token in ends), None)
        written = new if stop is None else new[: stop + 1]
        text = str(tokenizer.decode(written, skip_special_tokens=True))
        cut = min((text.find(s) for s in call.stop if s in text), default=None)
        finished = stop is not None or cut is not None or len(written) < call.max_tokens
        tokens = tuple(
            (str(tokenizer.decode([token])), float(row.float().log_softmax(-1)[token]))
            for token, row in zip(written, logits, strict=False)
        )
        completion = Completion(text[:cut], "stop" if finished else "length", tokens)
        return _reply(completion, sequence, generated=len(written))


_NO_LIMIT = 1 << 30


def _context(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int:
    """The longest sequence the model was made for; tokenizers without a limit say 1e30."""
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None) or _NO_LIMIT
    return int(min(positions, tokenizer.model_max_length or _NO_LIMIT, _NO_LIMIT))


def _settings(call: Generate) -> tuple[Any, ...]:
    greedy = call.temperature == 0  # greedy calls can always share a batch
    sampling = () if greedy else (call.temperature, call.top_p, call.top_k, call.seed)
    return (call.max_tokens, call.stop, call.logprobs, sampling)


def _numbers(values: "torch.Tensor") -> list[float]:
    numbers = [float(v) for v in values.tolist()]
    if any(v != v for v in numbers):
        raise ModelOutputError(
            "the model's log-probabilities are not numbers", hint="Try dtype='float32'."
        )
    return numbers


def _reply(answer: Any, sequence: _Sequence, *, generated: int = 0) -> Reply[Any]:
    return Reply(answer, len(sequence.ids), generated, sequence.encoded.truncated)
