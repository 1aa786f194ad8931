"""Decoding of a model's answer: greedy, or by sampling as some checkpoints' authors do."""

from dataclasses import dataclass

from .._checks import at_least, positive
from ..calls import Generate, Prompt, WrittenOrder
from ..errors import InputError

REASONING_TOKENS = 3072
"""Tokens for the reasoning before an answer, as ReasonRank's authors allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Decoding settings: greedy unless ``temperature`` is above 0.

    Args:
        temperature: 0 for greedy decoding.
        top_p: Sample from the likeliest tokens that make up this probability, above 0 and at
            most 1.
        top_k: Sample from this many tokens; 0 for all.
        seed: Makes sampling repeatable, if the backend supports it.

    Raises:
        InputError: A number is out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(0.0, temperature=self.temperature)
        at_least(0, top_k=self.top_k)
        positive(top_p=self.top_p)
        if self.top_p > 1:
            raise InputError(f"top_p is {self.top_p}, expected a number above 0 and at most 1")

    def generate(
        self,
        prompt: Prompt,
        max_tokens: int,
        *,
        logprobs: bool = False,
        until: WrittenOrder | None = None,
    ) -> Generate:
        """The call that writes up to ``max_tokens`` tokens after ``prompt``."""
        if self.temperature == 0:
            return Generate(prompt, max_tokens, logprobs=logprobs, until=until)
        return Generate(
            prompt,
            max_tokens,
            temperature=self.temperature,
            logprobs=logprobs,
            seed=self.seed,
            top_p=self.top_p,
            top_k=self.top_k,
            until=until,
        )


GREEDY = Sampling()
"""The likeliest token at every step."""
