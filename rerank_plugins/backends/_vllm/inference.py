"""A running vLLM engine and its answers to calls."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from ..._extras import extra
from ...calls import (
    Call,
    Completion,
    ContinuationLogprob,
    Generate,
    LabelLogprobs,
    Likelihood,
    NextToken,
    Reply,
    ScorePair,
)
from ...errors import BackendError, CallError, ModelOutputError
from .._answers.logprobs import asked_together
from .._answers.orders import OrderReader
from .._base import Answers, Table, in_order, prepared, require_room
from .._prompts.renderer import Renderer
from .requests import Request, Requests

C = TypeVar("C", bound=Call[Any])


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call as the engine sees it.

    Args:
        ids: The prompt's tokens.
        settings: vLLM's parameters of each request that the call needs.
        room: Number of tokens to write.
        read: Turns the requests' outputs into the answer and the number of tokens written for it.
        truncated: The prompt's untrusted parts that were cut.
        order: Reads the answer while it is written.
    """

    ids: list[int]
    settings: Sequence[Any]
    room: int
    read: Callable[[Sequence[Any]], tuple[Any, int]]
    truncated: tuple[int, ...] = ()
    order: OrderReader | None = None

    @property
    def requests(self) -> list[Request]:
        """One request for each of the settings."""
        complete = None if self.order is None else partial(_complete, self.order)
        return [Request(self.ids, one, complete) for one in self.settings]

    def reply(self, outputs: Sequence[Any]) -> Reply[Any] | CallError:
        """The reply that the outputs contain; the first error among them is the reply."""
        for output in outputs:
            if isinstance(output, CallError):
                return output
        try:
            answer, generated = self.read(outputs)
        except CallError as error:
            return error
        return Reply(answer, len(self.ids), generated, self.truncated)


@dataclass(frozen=True, slots=True)
class PairFormat:
    """The form in which a classifier was trained to read query and passage.

    Without ``template`` they are two sequences, joined by the tokenizer; with it they are the
    messages of the roles ``query`` and ``document``.
    """

    query: str = "{query}"
    passage: str = "{passage}"
    template: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class VLLMEngine:
    """Answers batches with one engine. Not safe to share between threads without a lock.

    Args:
        requests: Sends requests to the engine.
        renderer: Turns prompts into tokens.
        context: Maximum of prompt and answer together in tokens.
        pairs: The form of pairs, for a classifier; None for a generative model.
    """

    def __init__(
        self, requests: Requests, renderer: Renderer, context: int, pairs: PairFormat | None
    ) -> None:
        self.requests, self.renderer, self.context = requests, renderer, context
        self._pairs = pairs
        library = extra("vllm", "vllm")
        self._sampling: Any = library.SamplingParams
        self._pooling: Any = library.PoolingParams

    @property
    def table(self) -> Table:
        if self._pairs is not None:
            prepare = partial(self._pair, self._pairs)
            return {ScorePair: partial(self._answered, prepare, self.requests.classified)}
        written = self.requests.written
        return {
            NextToken: partial(self._answered, self._labels, written),
            Generate: partial(self._answered, self._text, written),
            Likelihood: partial(self._answered, self._continuation, written),
        }

    def _answered(
        self,
        prepare: Callable[[C], _Asked],
        send: Callable[[Sequence[Request]], list[Any]],
        calls: Sequence[C],
    ) -> Answers:
        """Prepare every call, send all requests at once, and put each reply in its place."""

        def fitting(call: C) -> _Asked:
            asked = prepare(call)
            require_room(len(asked.ids) + asked.room, self.context)
            return asked

        questions, replies = prepared(calls, fitting)
        outputs = iter(send([request for q in questions.values() for request in q.requests]))
        for i, question in questions.items():
            replies[i] = question.reply([next(outputs) for _ in question.settings])
        return in_order(replies, calls)

    def _labels(self, call: NextToken) -> _Asked:
        encoded = self.renderer.encode(call.prompt)
        ids = self.renderer.labels(call.prompt, call.labels, encoded.text)
        groups = asked_together([*ids.values()])

        def read(outputs: Sequence[Any]) -> tuple[LabelLogprobs, int]:
            # The sampled token is among them too, even if it is not a label.
            known: dict[int, Any] = {}
            for output in outputs:
                [written] = output.outputs
                if not written.logprobs:
                    raise _broken_off(written)
                known |= {i: found.logprob for i, found in written.logprobs[0].items()}
            values = _numbers([known[i] for i in ids.values()])
            return LabelLogprobs(dict(zip(ids, values, strict=True))), 0

        settings = [self._one_token(logprob_token_ids=list(group)) for group in groups]
        return _Asked(encoded.ids, settings, 1, read, encoded.truncated)

    def _text(self, call: Generate) -> _Asked:
        encoded = self.renderer.encode(call.prompt)
        settings = self._sampling(
            max_tokens=call.max_tokens,
            temperature=call.temperature,
            top_p=call.top_p,
            top_k=call.top_k,
            seed=call.seed,
            stop=list(call.stop),
            logprobs=0 if call.logprobs else None,
        )
        order = OrderReader.of(call, encoded.text)
        read = self._completion
        return _Asked(encoded.ids, [settings], call.max_tokens, read, encoded.truncated, order)

    def _completion(self, outputs: Sequence[Any]) -> tuple[Completion, int]:
        [output] = outputs
        [written] = output.outputs
        # None: it was ended here, when its order was complete.
        if written.finish_reason not in ("stop", "length", None):
            raise _broken_off(written)
        decode = self.renderer.tokenizer.decode
        steps = zip(written.token_ids, written.logprobs or (), strict=False)
        tokens = [(str(decode([token])), step[token].logprob) for token, step in steps]
        _numbers([logprob for _, logprob in tokens])
        answer = Completion(written.text, written.finish_reason or "stop", tuple(tokens))
        return answer, len(written.token_ids)

    def _continuation(self, call: Likelihood) -> _Asked:
        encoded, new = self.renderer.split(call.prompt, call.continuation)
        start = len(encoded.ids) - new

        def read(outputs: Sequence[Any]) -> tuple[ContinuationLogprob, int]:
            [output] = outputs
            rows = zip(encoded.ids[start:], output.prompt_logprobs[start:], strict=True)
            values = _numbers([row[token].logprob for token, row in rows])
            return ContinuationLogprob(sum(values), new), 0

        settings = [self._one_token(prompt_logprobs=0)]
        return _Asked(encoded.ids, settings, 1, read, encoded.truncated)

    def _pair(self, form: PairFormat, call: ScorePair) -> _Asked:
        # Replaced and not formatted: braces in a passage stay braces.
        query = self.renderer.escape(form.query.replace("{query}", str(call.query)))
        passage = self.renderer.escape(form.passage.replace("{passage}", str(call.passage)))
        tokenizer = self.renderer.tokenizer
        if form.template is not None:
            text = tokenizer.apply_chat_template(
                [{"role": "query", "content": query}, {"role": "document", "content": passage}],
                chat_template=form.template,
                tokenize=False,
                **form.options,
            )
            ids = tokenizer(str(text), add_special_tokens=False, verbose=False)["input_ids"]
            return _Asked(list(ids), [self._pooling(use_activation=False)], 0, _score)
        whole = tokenizer(query, passage, verbose=False)
        cut = len(whole["input_ids"]) > self.context
        if cut:
            whole = tokenizer(query, passage, truncation=True, max_length=self.context)
        settings = self._pooling(use_activation=False, extra_kwargs=_second_sequence(whole))
        return _Asked(list(whole["input_ids"]), [settings], 0, _score, (0,) if cut else ())

    def _one_token(self, **options: Any) -> Any:
        """Settings of a question about the prompt: a request has to write at least one token."""
        return self._sampling(max_tokens=1, temperature=0.0, detokenize=False, **options)


def _complete(order: OrderReader, output: Any) -> bool:
    [written] = output.outputs
    return order.complete(len(written.token_ids), lambda: str(written.text))


def _score(outputs: Sequence[Any]) -> tuple[float, int]:
    [output] = outputs
    [value] = output.outputs.data.flatten().tolist()
    if not math.isfinite(value):
        raise ModelOutputError(f"the model's score is {value}", hint="Try dtype='float32'.")
    return float(value), 0


def _second_sequence(encoded: Mapping[str, Any]) -> dict[str, int] | None:
    """The start of the passage in vLLM's form; None for models without token types."""
    types = encoded.get("token_type_ids")
    if types is None:
        return None
    return {"compressed_token_type_ids": types.index(1) if 1 in types else len(types)}


def _numbers(values: Sequence[float]) -> list[float]:
    if any(value != value for value in values):
        raise ModelOutputError("the model's values are not numbers", hint="Try dtype='float32'.")
    return [float(value) for value in values]


def _broken_off(written: Any) -> BackendError:
    return BackendError(f"vLLM broke off the answer: {written.finish_reason}")
