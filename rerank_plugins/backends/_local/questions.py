"""Calls as a language model sees them: token ids, and the reading of its output."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ...calls import ContinuationLogprob, LabelLogprobs, Likelihood, NextToken, Reply
from ...errors import CallError, ModelOutputError
from .._prompts.renderer import Encoded, Renderer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Question(ABC):
    """One call as the model sees it.

    Args:
        encoded: The prompt's tokens, and the continuation's where there is one.
    """

    encoded: Encoded

    @property
    def ids(self) -> list[int]:
        return self.encoded.ids

    @property
    @abstractmethod
    def room(self) -> int:
        """Tokens of the answer that come on top of ``ids``."""

    @property
    def keep(self) -> int:
        """Positions at the end whose logits are needed."""
        return 1

    @abstractmethod
    def read(self, output: Any) -> tuple[Any, int]:
        """The answer, and the tokens that were generated for it.

        Raises:
            ModelOutputError: The model's numbers are not numbers.
        """

    def reply(self, output: Any) -> Reply[Any] | CallError:
        """The reply that the model's output contains."""
        try:
            answer, generated = self.read(output)
        except CallError as error:
            return error
        return Reply(answer, len(self.ids), generated, self.encoded.truncated)


@dataclass(frozen=True, slots=True)
class Labels(Question):
    """`NextToken`: ``labels`` has the token id of each."""

    labels: Mapping[str, int]
    room = 1

    @classmethod
    def prepare(cls, call: NextToken, renderer: Renderer) -> Self:
        encoded = renderer.encode(call.prompt)
        return cls(encoded, renderer.labels(call.prompt, call.labels, encoded.text))

    def read(self, output: "torch.Tensor") -> tuple[LabelLogprobs, int]:
        row = output[-1]
        values = numbers(row.log_softmax(-1)[list(self.labels.values())])
        seen = dict(zip(self.labels, values, strict=True))
        return LabelLogprobs(seen, normaliser=float(row.logsumexp(-1))), 0


@dataclass(frozen=True, slots=True)
class Continuation(Question):
    """`Likelihood`: the last ``new`` tokens are the continuation."""

    new: int
    room = 0

    @classmethod
    def prepare(cls, call: Likelihood, renderer: Renderer) -> Self:
        return cls(*renderer.split(call.prompt, call.continuation))

    @property
    def keep(self) -> int:
        return self.new + 1  # the logits at one position predict the token at the next

    def read(self, output: "torch.Tensor") -> tuple[ContinuationLogprob, int]:
        import torch

        n = self.new
        wanted = torch.tensor(self.ids[len(self.ids) - n :], device=output.device)
        logprobs = output[-n - 1 : -1].log_softmax(-1).gather(-1, wanted[:, None])
        return ContinuationLogprob(sum(numbers(logprobs[:, 0])), n), 0


def numbers(values: "torch.Tensor") -> list[float]:
    """Log-probabilities as Python's floats.

    Raises:
        ModelOutputError: One is not a number.
    """
    found = [float(value) for value in values.tolist()]
    if any(value != value for value in found):
        raise ModelOutputError(
            "the model's log-probabilities are not numbers", hint="Try dtype='float32'."
        )
    return found
