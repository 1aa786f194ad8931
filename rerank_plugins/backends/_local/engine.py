"""A loaded causal language model and the three questions it can be asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from ..._extras import extra
from ..._threads import abandoned
from ...calls import (
    Call,
    Completion,
    ContinuationLogprob,
    Generate,
    LabelLogprobs,
    Likelihood,
    NextToken,
    Reply,
)
from ...errors import BackendError, CallError, ModelOutputError, PromptTooLongError
from .._base import Answers, Table
from .._prompts.renderer import Encoded, Renderer
from .batching import MAX_ROWS, Group, batches, groups
from .forward import Forward, Prefix
from .prefix import NO_LIMIT, shareable_tokens

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

C = TypeVar("C", bound=Call[Any])
GPU_BATCH_TOKENS = 16_384
CPU_BATCH_TOKENS = 512
"""After a shared beginning: enough to read the weights rarely, few enough for the caches."""
CACHED_TOKENS = 16_384
"""Tokens of all rows whose keys and values are in memory beside a shared beginning."""


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One call as the model sees it.

    Args:
        encoded: Its tokens.
        room: Tokens that are or will be the answer, at the end.
        keep: Positions at the end whose logits are asked for.
        labels: Token ids that may come next.
    """

    encoded: Encoded
    room: int
    keep: int = 1
    labels: tuple[int, ...] = ()

    @property
    def ids(self) -> list[int]:
        return self.encoded.ids


Ask = Callable[[list[C], list[_Sequence], Prefix | None], list[Reply[Any]]]
"""Answers calls that run together, after the beginning that was computed for them."""


class Engine:
    """Answers batches with one model. Not safe to share between threads without a lock."""

    def __init__(
        self,
        model: "PreTrainedModel",
        renderer: Renderer,
        context_tokens: int | None,
        max_batch_tokens: int | None,
        share_prefix: bool = True,
    ) -> None:
        self.model: Any = model  # its methods are untyped
        self.renderer = renderer
        self.forward = Forward(model, renderer.tokenizer.pad_token_id or 0)
        self.context = min(context_tokens or NO_LIMIT, _context(model, renderer.tokenizer))
        on_cpu = model.device.type == "cpu"
        self.batch_tokens = max_batch_tokens or (None if on_cpu else GPU_BATCH_TOKENS)
        self.suffix_tokens = self.batch_tokens or CPU_BATCH_TOKENS
        self.share_prefix = share_prefix

    @property
    def table(self) -> Table:
        return {
            NextToken: self.next_token,
            Generate: self.generate,
            Likelihood: self.likelihood,
        }

    def next_token(self, calls: Sequence[NextToken]) -> Answers:
        return self._answered(calls, self._labelled, self._label_logprobs)

    def likelihood(self, calls: Sequence[Likelihood]) -> Answers:
        return self._answered(calls, self._continued, self._continuation_logprobs, written=False)

    def generate(self, calls: Sequence[Generate]) -> Answers:
        return self._answered(
            calls,
            lambda c: _Sequence(self.renderer.encode(c.prompt), c.max_tokens),
            self._write,
            shared=False,
        )

    def _answered(
        self,
        calls: Sequence[C],
        prepare: Callable[[C], _Sequence],
        ask: Ask[C],
        *,
        written: bool = True,
        shared: bool = True,
    ) -> Answers:
        """Prepare every call, run those that fit in batches, and put each reply in its place.

        ``written`` says whether a sequence's room comes on top of its tokens, ``shared`` whether
        what several sequences begin with may be computed once.
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
        sharing = shared and self.share_prefix
        for group in self._groups(sequences) if sharing else [Group(tuple(sequences))]:
            replies |= self._of_group(group, calls, sequences, ask)
        return [replies[i] for i in range(len(calls))]

    def _labelled(self, call: NextToken) -> _Sequence:
        encoded = self.renderer.encode(call.prompt)
        spellings = self.renderer.spellings(call.prompt, call.labels)
        # Before any forward pass: labels that cannot work should not cost one.
        labels = self.renderer.label_ids(encoded.text, spellings)
        return _Sequence(encoded, room=1, labels=labels)

    def _continued(self, call: Likelihood) -> _Sequence:
        encoded, new = self.renderer.split(call.prompt, call.continuation)
        return _Sequence(encoded, new, keep=new + 1)  # the first is foretold one position earlier

    def _groups(self, sequences: Mapping[int, _Sequence]) -> list[Group]:
        """Which calls share what they begin with."""
        if not any(group.shared for group in _alike(sequences, NO_LIMIT)):
            return [Group(tuple(sequences))]
        return _alike(sequences, self._shareable)

    @cached_property
    def _shareable(self) -> int:
        """Tokens of the longest prompt that may share its beginning; tried out once."""
        import torch

        with torch.inference_mode():
            return shareable_tokens(self.forward, self.context)

    def _of_group(
        self, group: Group, calls: Sequence[C], sequences: Mapping[int, _Sequence], ask: Ask[C]
    ) -> dict[int, Reply[Any] | CallError]:
        """The replies to calls that begin alike, by their positions."""
        replies: dict[int, Reply[Any] | CallError] = {}
        computed: list[Prefix] = []  # once, and only if somebody waits for it

        def answer(chosen: list[int]) -> list[Reply[Any]]:
            if group.shared and not computed:
                computed.append(self.forward.prefix(sequences[chosen[0]].ids[: group.shared]))
            return ask(
                [calls[i] for i in chosen],
                [sequences[i] for i in chosen],
                computed[0] if computed else None,
            )

        for chosen in self._batches(group, sequences):
            replies.update(zip(chosen, _guarded(answer, chosen), strict=True))
        return replies

    def _batches(self, group: Group, sequences: Mapping[int, _Sequence]) -> Iterator[list[int]]:
        """Which calls of a group run together."""
        lengths = [len(sequences[i].ids) - group.shared for i in group.members]
        budget, rows = self.batch_tokens, MAX_ROWS
        if group.shared:
            budget = self.suffix_tokens
            rows = min(MAX_ROWS, CACHED_TOKENS // (group.shared + max(lengths)))
        for batch in batches(lengths, budget, rows):
            yield [group.members[j] for j in batch]

    def _label_logprobs(
        self, calls: list[NextToken], sequences: list[_Sequence], prefix: Prefix | None
    ) -> list[Reply[LabelLogprobs]]:
        logprobs = self._logits(sequences, prefix)[:, -1].log_softmax(-1)
        replies = []
        for call, sequence, row in zip(calls, sequences, logprobs, strict=True):
            seen = dict(zip(call.labels, _numbers(row[list(sequence.labels)]), strict=True))
            replies.append(_reply(LabelLogprobs(seen), sequence))
        return replies

    def _continuation_logprobs(
        self, _calls: list[Likelihood], sequences: list[_Sequence], prefix: Prefix | None
    ) -> list[Reply[ContinuationLogprob]]:
        import torch

        logits = self._logits(sequences, prefix)
        replies = []
        for sequence, rows in zip(sequences, logits, strict=True):
            n = sequence.room
            wanted = torch.tensor(sequence.ids[len(sequence.ids) - n :], device=rows.device)
            # The logits at one position predict the token at the next.
            logprobs = rows[-n - 1 : -1].log_softmax(-1).gather(-1, wanted[:, None])
            total = sum(_numbers(logprobs[:, 0]))
            replies.append(_reply(ContinuationLogprob(total, n), sequence))
        return replies

    def _logits(self, sequences: list[_Sequence], prefix: Prefix | None) -> "torch.Tensor":
        """Logits of the last positions, as many as any of them asks for."""
        keep = max(s.keep for s in sequences)
        return self.forward.logits([s.ids for s in sequences], keep, prefix)

    def _write(
        self, calls: list[Generate], sequences: list[_Sequence], _prefix: Prefix | None = None
    ) -> list[Reply[Completion]]:
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

        inputs = self.forward.inputs([s.ids for s in sequences], positions=False)
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


def _alike(sequences: Mapping[int, _Sequence], limit: int) -> list[Group]:
    """Calls that begin alike; those with more than ``limit`` tokens stay whole."""
    where = list(sequences)
    most = [len(s.ids) - s.keep if len(s.ids) <= limit else 0 for s in sequences.values()]
    found = groups([s.ids for s in sequences.values()], most)
    return [Group(tuple(where[j] for j in g.members), g.shared) for g in found]


def _guarded(
    answer: Callable[[list[int]], list[Reply[Any]]], chosen: list[int]
) -> Sequence[Reply[Any] | CallError]:
    """The answers, or the error of this batch for each of its calls."""
    import torch

    if abandoned():
        return [BackendError("nobody waits for this answer any more") for _ in chosen]
    try:
        with torch.inference_mode():
            return answer(chosen)
    except torch.OutOfMemoryError:
        hint = "Lower max_batch_tokens, use a smaller window or shorter passages."
        return [BackendError("the device ran out of memory", hint=hint) for _ in chosen]
    except ModelOutputError as error:
        return [error for _ in chosen]


def _context(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int:
    """The longest sequence the model was made for; tokenizers without a limit say 1e30."""
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None) or NO_LIMIT
    return int(min(positions, tokenizer.model_max_length or NO_LIMIT, NO_LIMIT))


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
