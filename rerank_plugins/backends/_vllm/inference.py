"""A running vLLM engine and the questions it can be asked."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from ...errors import BackendError, CallError, ModelOutputError, PromptTooLongError
from .._answers.logprobs import asked_together
from .._base import Answers
from .._prompts.renderer import Renderer
from .requests import Request, Requests

C = TypeVar("C", bound=Call[Any])


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call as the engine sees it.

    ``settings`` holds vLLM's parameters of each request that the call needs, ``room`` the tokens
    that are written, and ``read`` turns the outputs into the answer and the tokens it cost.
    """

    ids: list[int]
    settings: Sequence[Any]
    room: int
    read: Callable[[Sequence[Any]], tuple[Any, int]]
    truncated: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PairFormat:
    """How a classifier was trained to read query and passage.

    Without ``template`` they are two sequences, joined by the tokenizer; with it they are the
    messages of the roles ``query`` and ``document``.
    """

    query: str = "{query}"
    passage: str = "{passage}"
    template: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class VLLMEngine:
    """Answers batches with one engine. Not safe to share between threads without a lock."""

    def __init__(
        self, requests: Requests, renderer: Renderer, context: int, pairs: PairFormat
    ) -> None:
        self.requests, self.renderer, self.context = requests, renderer, context
        self._pairs = pairs
        library = extra("vllm", "vllm")
        self._sampling: Any = library.SamplingParams
        self._pooling: Any = library.PoolingParams

    def next_token(self, calls: Sequence[NextToken]) -> Answers:
        return self._answered(calls, self._labels, self.requests.written)

    def generate(self, calls: Sequence[Generate]) -> Answers:
        return self._answered(calls, self._text, self.requests.written)

    def likelihood(self, calls: Sequence[Likelihood]) -> Answers:
        return self._answered(calls, self._continuation, self.requests.written)

    def score_pair(self, calls: Sequence[ScorePair]) -> Answers:
        return self._answered(calls, self._pair, self.requests.classified)

    def _answered(
        self,
        calls: Sequence[C],
        prepare: Callable[[C], _Asked],
        send: Callable[[Sequence[Request]], list[Any]],
    ) -> Answers:
        """Prepare every call, send all requests at once, and put each reply in its place."""
        replies: dict[int, Reply[Any] | CallError] = {}
        asked: dict[int, _Asked] = {}
        for i, call in enumerate(calls):
            try:
                asked[i] = self._fitting(prepare(call))
            except CallError as error:
                replies[i] = error
        outputs = iter(send([(a.ids, one) for a in asked.values() for one in a.settings]))
        for i, one in asked.items():
            replies[i] = _reply(one, [next(outputs) for _ in one.settings])
        return [replies[i] for i in range(len(calls))]

    def _fitting(self, asked: _Asked) -> _Asked:
        excess = len(asked.ids) + asked.room - self.context
        if excess > 0:
            raise PromptTooLongError(excess, limit=self.context)
        return asked

    def _labels(self, call: NextToken) -> _Asked:
        encoded = self.renderer.encode(call.prompt)
        ids = self.renderer.labels(call.prompt, call.labels, encoded.text)
        groups = asked_together([*ids.values()])

        def read(outputs: Sequence[Any]) -> tuple[LabelLogprobs, int]:
            # The token that was sampled is among them too, whether or not it was asked for.
            known = {i: lp.logprob for output in outputs for i, lp in _first_token(output).items()}
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
        return _Asked(encoded.ids, [settings], call.max_tokens, self._completion, encoded.truncated)

    def _completion(self, outputs: Sequence[Any]) -> tuple[Completion, int]:
        [output] = outputs
        [written] = output.outputs
        if written.finish_reason not in ("stop", "length"):
            raise BackendError(f"vLLM broke the answer off: {written.finish_reason}")
        decode = self.renderer.tokenizer.decode
        steps = zip(written.token_ids, written.logprobs or (), strict=False)
        tokens = [(str(decode([token])), step[token].logprob) for token, step in steps]
        _numbers([logprob for _, logprob in tokens])
        answer = Completion(written.text, written.finish_reason, tuple(tokens))
        return answer, len(written.token_ids)

    def _continuation(self, call: Likelihood) -> _Asked:
        encoded, new = self.renderer.split(call.prompt, call.continuation)
        if new == len(encoded.ids):
            raise CallError("the prompt is empty, so nothing foretells the continuation")

        def read(outputs: Sequence[Any]) -> tuple[ContinuationLogprob, int]:
            [output] = outputs
            start = len(encoded.ids) - new
            rows = zip(encoded.ids[start:], output.prompt_logprobs[start:], strict=True)
            values = _numbers([row[token].logprob for token, row in rows])
            return ContinuationLogprob(sum(values), new), 0

        settings = [self._one_token(prompt_logprobs=0)]
        return _Asked(encoded.ids, settings, 1, read, encoded.truncated)

    def _pair(self, call: ScorePair) -> _Asked:
        # Replaced and not formatted: braces in a passage stay braces.
        query = self._pairs.query.replace("{query}", str(call.query))
        passage = self._pairs.passage.replace("{passage}", str(call.passage))
        query, passage = self.renderer.escape(query), self.renderer.escape(passage)
        if self._pairs.template is not None:
            return self._templated(query, passage)
        tokenizer = self.renderer.tokenizer
        whole = tokenizer(query, passage, verbose=False)
        cut = len(whole["input_ids"]) > self.context
        if cut:
            whole = tokenizer(query, passage, truncation=True, max_length=self.context)
        settings = self._pooling(use_activation=False, extra_kwargs=_second_sequence(whole))
        return _Asked(list(whole["input_ids"]), [settings], 0, _score, (0,) if cut else ())

    def _templated(self, query: str, passage: str) -> _Asked:
        tokenizer = self.renderer.tokenizer
        text = tokenizer.apply_chat_template(
            [{"role": "query", "content": query}, {"role": "document", "content": passage}],
            chat_template=self._pairs.template,
            tokenize=False,
            **self._pairs.options,
        )
        ids = tokenizer(str(text), add_special_tokens=False, verbose=False)["input_ids"]
        return _Asked(list(ids), [self._pooling(use_activation=False)], 0, _score)

    def _one_token(self, **options: Any) -> Any:
        """For a question about the prompt: a request has to write something."""
        return self._sampling(max_tokens=1, temperature=0.0, detokenize=False, **options)


def _reply(asked: _Asked, outputs: Sequence[Any]) -> Reply[Any] | CallError:
    for output in outputs:
        if isinstance(output, CallError):
            return output
    try:
        answer, generated = asked.read(outputs)
    except CallError as error:
        return error
    return Reply(answer, len(asked.ids), generated, asked.truncated)


def _first_token(output: Any) -> Mapping[int, Any]:
    [written] = output.outputs
    if not written.logprobs:
        raise BackendError(f"vLLM broke the answer off: {written.finish_reason}")
    found: Mapping[int, Any] = written.logprobs[0]
    return found


def _score(outputs: Sequence[Any]) -> tuple[float, int]:
    [output] = outputs
    [value] = output.outputs.data.flatten().tolist()
    if not math.isfinite(value):
        raise ModelOutputError(f"the model's score is {value}", hint="Try dtype='float32'.")
    return float(value), 0


def _second_sequence(encoded: Mapping[str, Any]) -> dict[str, int] | None:
    """Where the passage begins, for models that are told so, in the form that vLLM wants."""
    types = encoded.get("token_type_ids")
    if types is None:
        return None
    return {"compressed_token_type_ids": types.index(1) if 1 in types else len(types)}


def _numbers(values: Sequence[float]) -> list[float]:
    if any(value != value for value in values):
        raise ModelOutputError("the model's values are not numbers", hint="Try dtype='float32'.")
    return [float(value) for value in values]
