"""A loaded causal language model that answers batches of calls."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..._loading import loading
from ..._threads import abandoned
from ...calls import Attend, Generate, Likelihood, NextToken
from .._base import Answers, Table, in_order, prepared, require_room
from .._prompts.renderer import Renderer
from .attention import Attended
from .forward import Forward, within_memory
from .generation import Text, generate
from .limits import NO_LIMIT, pads_exactly, require_positions
from .questions import Continuation, Labels, Question
from .sharing import MAX_ROWS, Group, batches, group_alike, shareable_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GPU_BATCH_TOKENS = 16_384
CPU_BATCH_TOKENS = 512
"""After a shared beginning: enough to read the weights rarely, few enough for the caches."""
CACHED_TOKENS = 16_384
"""Tokens of all rows whose keys and values are in memory beside a shared beginning."""
_NO_MEMORY = "Lower max_batch_tokens, use a smaller window or shorter passages."


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
        tokenizer = renderer.tokenizer
        self.model: Any = model  # its methods are untyped
        self.renderer = renderer
        self.forward = Forward(model, tokenizer.pad_token_id or 0)
        # Tokenizers without a limit say 1e30.
        own = require_positions("context_tokens", context_tokens, model)
        self.context = int(min(own, tokenizer.model_max_length or NO_LIMIT))
        on_cpu = model.device.type == "cpu"
        self.batch_tokens = max_batch_tokens or (None if on_cpu else GPU_BATCH_TOKENS)
        self.suffix_tokens = self.batch_tokens or CPU_BATCH_TOKENS
        self.share_prefix = share_prefix

    @property
    def table(self) -> Table:
        return {
            NextToken: self.ask,
            Likelihood: self.ask,
            Generate: self.write,
            Attend: self.attend,
        }

    def ask(self, calls: Sequence[NextToken | Likelihood]) -> Answers:
        """Answer calls of one kind from the logits of their tokens."""
        questions, replies = prepared(calls, self._question)
        groups = [Group(tuple(questions))]
        if self.share_prefix and any(group.shared for group in _alike(questions, NO_LIMIT)):
            groups = _alike(questions, self._shareable)
        for group in groups:
            prefix = None
            for chosen in self._batches(group, questions):
                if abandoned():
                    return in_order(replies, calls)
                asked = [questions[i] for i in chosen]
                with within_memory(replies, chosen, _NO_MEMORY):
                    if group.shared and prefix is None:
                        prefix = self.forward.prefix(asked[0].ids[: group.shared])
                    rows = [question.ids for question in asked]
                    keep = max(question.keep for question in asked)
                    # No name for the logits: it would keep them in memory in the next pass.
                    replies |= {
                        i: question.reply(logits)
                        for i, question, logits in zip(
                            chosen, asked, self.forward.logits(rows, keep, prefix), strict=True
                        )
                    }
        return in_order(replies, calls)

    def write(self, calls: Sequence[Generate]) -> Answers:
        """Answer calls with text that the model writes."""
        questions, replies = prepared(calls, self._text)
        for batch in self._batches(Group(tuple(questions)), questions):
            # Decoding settings belong to a whole batch, so calls that differ in them run in turn.
            alike = len({questions[i].settings for i in batch}) == 1
            for chosen in [batch] if alike else [[i] for i in batch]:
                if abandoned():
                    return in_order(replies, calls)
                asked = [questions[i] for i in chosen]
                with within_memory(replies, chosen, _NO_MEMORY):
                    replies |= {
                        i: question.reply(output)
                        for i, question, output in zip(
                            chosen, asked, generate(self.forward, asked), strict=True
                        )
                    }
        return in_order(replies, calls)

    def attend(self, calls: Sequence[Attend]) -> Answers:
        """Answer calls from the attention of the model's layers, one prompt at a time."""

        def fitting(call: Attend) -> Attended:
            asked = Attended.prepare(call, self.renderer)
            require_room(asked.tokens, self.context)
            return asked

        questions, replies = prepared(calls, fitting)
        for i, question in questions.items():
            if abandoned():
                break
            with within_memory(replies, [i], _NO_MEMORY):
                shareable = self._shareable if self.share_prefix else 0
                replies[i] = question.reply(self.forward, shareable)
        return in_order(replies, calls)

    def _question(self, call: NextToken | Likelihood) -> Question:
        # Labels that cannot work are refused here: they should not cost a forward pass.
        question: Question = (
            Labels.prepare(call, self.renderer)
            if isinstance(call, NextToken)
            else Continuation.prepare(call, self.renderer)
        )
        require_room(len(question.ids) + question.room, self.context)
        return question

    def _text(self, call: Generate) -> Text:
        own = getattr(self.model.generation_config, "eos_token_id", None)
        tokenizer = self.renderer.tokenizer
        ends = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
        known = [i for i in dict.fromkeys(ends) if i is not None]
        text = Text(self.renderer.encode(call.prompt), call, tokenizer, known)
        require_room(len(text.ids) + text.room, self.context)
        return text

    @cached_property
    def _shareable(self) -> int:
        """Tokens of the longest prompt that may share its beginning; found by a trial, once."""
        with loading():
            return shareable_tokens(self.forward, self.context)

    @cached_property
    def _pads(self) -> bool:
        """Whether sequences of different lengths may run together; found by a trial, once."""
        with loading():
            return pads_exactly(self.forward, self.context)

    def _batches(self, group: Group, questions: Mapping[int, Question]) -> Iterator[list[int]]:
        """Split a group into the calls that run together."""
        lengths = [len(questions[i].ids) - group.shared for i in group.members]
        budget, rows = self.batch_tokens, MAX_ROWS
        if group.shared:
            budget = self.suffix_tokens
            rows = min(MAX_ROWS, CACHED_TOKENS // (group.shared + max(lengths)))
        for batch in batches(lengths, budget, rows):
            # Longest first. Where a beginning is shared, the trial of that has shown it.
            together = group.shared or lengths[batch[0]] == lengths[batch[-1]] or self._pads
            for _, alike in groupby(batch, key=lambda j: 0 if together else lengths[j]):
                yield [group.members[j] for j in alike]


def _alike(questions: Mapping[int, Question], limit: int) -> list[Group]:
    """Group calls that begin alike; those with more than ``limit`` tokens stay whole."""
    where = list(questions)
    most = [len(q.ids) - q.keep if len(q.ids) <= limit else 0 for q in questions.values()]
    found = group_alike([question.ids for question in questions.values()], most)
    return [Group(tuple(where[j] for j in group.members), group.shared) for group in found]
