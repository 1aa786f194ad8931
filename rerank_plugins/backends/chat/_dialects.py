"""Dialects of chat APIs: the names of their arguments, without those an API has refused."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ...calls import Generate
from .._answers.failures import named

MOST_LOGPROBS = 20
"""Alternatives requested at each position: the largest number that common servers report."""

FEW_LOGPROBS = 5
"""Alternatives requested from a server that refuses that many."""

REASONING_TOKENS = 4096
"""Room for a model's reasoning before its answer, if its limit of tokens counts that too."""

_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")
_CLOSING = {"[": "]", "(": ")", "{": "}", '"': '"'}


def _fixed(**values: Any) -> Any:
    return field(default_factory=lambda: MappingProxyType(values))


@dataclass(frozen=True, slots=True)
class Dialect:
    """The arguments of one chat API. The default is OpenAI's, which most others understand.

    An argument that an API refuses is removed from its dialect, so the dialect also holds
    everything that is known about the model behind the API.

    Args:
        limit: The name of the limit of tokens; None if there is none.
        fewest: The lowest limit that is accepted, in tokens.
        logprobs: The arguments for log-probabilities; None if they are unavailable.
        greedy: The arguments for the likeliest answer.
        warm: The arguments for a sampled answer, in addition to its numbers.
        sampled: The names of temperature, top_p, top_k and seed, as far as the API has them.
        stop: The name of the stop sequences; None if there are none.
        thinks: True if the limit of tokens also counts the reasoning before the answer.
    """

    limit: str | None = "max_tokens"
    fewest: int = 1
    logprobs: Mapping[str, Any] | None = _fixed(logprobs=True, top_logprobs=MOST_LOGPROBS)
    greedy: Mapping[str, Any] = _fixed(temperature=0.0)
    warm: Mapping[str, Any] = _fixed()
    sampled: Mapping[str, str] = _fixed(temperature="temperature", top_p="top_p", seed="seed")
    stop: str | None = "stop"
    thinks: bool = False

    def generate(self, call: Generate) -> dict[str, Any]:
        """The arguments for a `Generate` call."""
        stop = {self.stop: list(call.stop)} if self.stop and call.stop else {}
        if call.temperature == 0:
            return {**self._room(call.max_tokens), **self.greedy, **stop}
        values = {"temperature": call.temperature}
        values |= {"top_p": call.top_p} if call.top_p < 1 else {}
        values |= {"top_k": call.top_k} if call.top_k else {}
        values |= {} if call.seed is None else {"seed": call.seed}
        known = {self.sampled[name]: v for name, v in values.items() if name in self.sampled}
        return {**self._room(call.max_tokens), **self.warm, **known, **stop}

    def first_tokens(self, prefill: str) -> dict[str, Any]:
        """The arguments for the log-probabilities of an answer's first tokens.

        The answer may repeat the prefill, which takes tokens too. It stops after a label in
        brackets instead of at the limit: some clients warn about an answer that was cut.
        """
        closing = _CLOSING.get(prefill[-1:])
        stop = {self.stop: [closing]} if self.stop and closing else {}
        room = self._room(3 + len(prefill) // 2)
        return {**room, **self.greedy, **stop, **(self.logprobs or {})}

    def without(self, refused: Set[str], said: str) -> "Dialect":
        """The dialect without arguments that an API refused.

        Args:
            refused: The names of the arguments.
            said: The API's message: it may name an argument to use instead.

        Examples:
            >>> said = "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead."
            >>> Dialect().without({"max_tokens"}, said).limit
            'max_completion_tokens'
            >>> Dialect().without({"top_logprobs"}, "at most 5").logprobs["top_logprobs"]
            5
        """
        limit, logprobs = self.limit, self.logprobs
        if logprobs is not None and (bad := refused & set(logprobs)):
            # If only the number of alternatives was refused, ask for fewer.
            many = {k for k, v in logprobs.items() if type(v) is int and v > FEW_LOGPROBS}
            logprobs = {**logprobs, **dict.fromkeys(bad, FEW_LOGPROBS)} if bad == many else None
        if limit in refused:
            limit = next((x for x in _LIMITS if x not in refused and named(said, {x})), None)
        return replace(
            self,
            limit=limit,
            logprobs=logprobs,
            greedy={k: v for k, v in self.greedy.items() if k not in refused},
            warm={k: v for k, v in self.warm.items() if k not in refused},
            sampled={k: v for k, v in self.sampled.items() if v not in refused},
            stop=None if self.stop in refused else self.stop,
        )

    def _room(self, tokens: int) -> dict[str, int]:
        more = REASONING_TOKENS if self.thinks else 0
        return {self.limit: max(self.fewest, tokens + more)} if self.limit else {}


COMPLETIONS = Dialect(logprobs={"logprobs": MOST_LOGPROBS})
"""OpenAI's older API for text completion: ``logprobs`` is a number, not a flag."""

RESPONSES = Dialect(
    limit="max_output_tokens",
    fewest=16,
    logprobs={"include": ["message.output_text.logprobs"], "top_logprobs": MOST_LOGPROBS},
    sampled={"temperature": "temperature", "top_p": "top_p"},
    stop=None,
)
"""OpenAI's Responses API."""

OLLAMA = Dialect(
    limit="num_predict",
    logprobs=None,
    sampled={name: name for name in ("temperature", "top_p", "top_k", "seed")},
)
"""Ollama's own options, which have none for log-probabilities."""

TRANSFORMERS = Dialect(
    limit="max_new_tokens",
    logprobs=None,
    greedy={"do_sample": False},
    warm={"do_sample": True},
    sampled={name: name for name in ("temperature", "top_p", "top_k")},
    stop=None,
)
"""A pipeline of transformers in this process, which returns text only."""

MUTE = Dialect(limit=None, logprobs=None, greedy={}, sampled={}, stop=None)
"""A model that accepts messages and no arguments."""
