"""What to do when a prompt does not fit: shorten the passages and ask again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..calls import Call, Plan, Prompt, Reply
from ..errors import PromptTooLongError
from ..plans import ask_replies
from ..text import count_words

A = TypeVar("A")
Render = Callable[[int | None], tuple[Prompt, frozenset[int]]]
"""A prompt with at most that many words of each passage, and the passages that were shortened."""


@dataclass(frozen=True, slots=True)
class Fitted(Generic[A]):
    """An answer, the prompt that fitted, and the passages that were shortened for it."""

    answer: A
    prompt: Prompt
    cut: frozenset[int]


def ask_fitted(
    render: Render, call: Callable[[Prompt], Call[A]], passages: Sequence[str], most_words: int
) -> Plan[Fitted[A]]:
    """Ask about passages, with fewer words of them each time the prompt does not fit.

    Args:
        render: Makes the prompt.
        call: Makes the question.
        passages: What the prompt shows.
        most_words: No passage has more words in the prompt than this.

    Raises:
        PromptTooLongError: It does not fit with one word of each passage either.
    """
    words: int | None = None
    while True:
        prompt, cut = render(words)
        [reply] = yield from ask_replies([call(prompt)])
        if isinstance(reply, Reply):
            return Fitted(reply.answer, prompt, cut | _cut_by_backend(prompt, reply))
        if not isinstance(reply, PromptTooLongError):
            raise reply
        words = shorter(words or most_words, reply, passages)


def shorter(limit: int, error: PromptTooLongError, passages: Sequence[str]) -> int:
    """The next word limit to try after ``error``.

    It falls by ``excess // (4 * passages)`` and at least 1, as in RankGPT, FIRST and RankLLM,
    but at most by half: text without spaces has many tokens in a word, and one such passage must
    not cost the others their content.

    Raises:
        PromptTooLongError: One word a passage was too long already.

    Examples:
        >>> shorter(300, PromptTooLongError(800), ["word " * 400] * 20)
        290
    """
    longest = min(limit, max(map(count_words, passages), default=0))
    if longest <= 1:
        raise PromptTooLongError(
            error.excess_tokens,
            limit=error.limit,
            hint="It does not fit with one word a passage either: use a smaller window, a shorter "
            "query, less room for the answer (max_tokens) or a model with a longer context.",
        ) from error
    step = max(1, error.excess_tokens // (4 * len(passages)))
    return longest - min(step, longest // 2)


def _cut_by_backend(prompt: Prompt, reply: Reply[A]) -> frozenset[int]:
    """Which passages the backend cut to their limit in tokens."""
    if not reply.truncated:
        return frozenset()
    cut = set(reply.truncated)
    passages = [i for i, part in enumerate(prompt.untrusted) if part.kind == "passage"]
    return frozenset(place for place, i in enumerate(passages) if i in cut)
