"""How a model's answer is decoded, for checkpoints whose authors sample."""

from dataclasses import dataclass

from ..calls import Generate, Prompt
from ..errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Decoding settings: greedy unless ``temperature`` is above 0.

    Args:
        temperature: 0 for greedy decoding.
        top_p: Sample from the likeliest tokens that make up this probability.
        top_k: Sample from this many tokens; 0 for all.
        seed: Makes sampling repeatable, where the backend can.

    Raises:
        InputError: A number is out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise InputError(f"temperature is {self.temperature}, expected 0 or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}, expected a number above 0 and at most 1")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}, expected 0 or more")

    def generate(self, prompt: Prompt, max_tokens: int, *, logprobs: bool = False) -> Generate:
        """The call that writes up to ``max_tokens`` tokens after ``prompt``."""
        if self.temperature == 0:
            return Generate(prompt, max_tokens, logprobs=logprobs)
        return Generate(
            prompt,
            max_tokens,
            temperature=self.temperature,
            logprobs=logprobs,
            seed=self.seed,
            top_p=self.top_p,
            top_k=self.top_k,
        )


GREEDY = Sampling()
"""The likeliest token at every step."""
