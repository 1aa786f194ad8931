"""Questions whose prompt may not fit: shorten the passages and ask again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from ..calls import Call, Plan, Prompt
from ..errors import CallError, PromptTooLongError
from ..plans import ask_replies
from ..prompts import ListwisePrompt, Rendered
from ..text import count_words

A = TypeVar("A")


class Render(Protocol):
    """Makes the prompt, with at most ``max_words`` words of each passage."""

    def __call__(self, *, max_words: int | None) -> Rendered: ...


@dataclass(frozen=True, slots=True)
class Fitted(Generic[A]):
    """An answer, the prompt that fitted, and the positions of the passages that were shortened."""

    answer: A
    prompt: Prompt
    cut: frozenset[int]


def ask_fitted(
    render: Render, call: Callable[[Prompt], Call[A]], passages: Sequence[str], most_words: int
) -> Plan[Fitted[A]]:
    """Ask about passages, with fewer words of them each time the prompt does not fit.

    Args:
        render: Makes the prompt.
        call: Makes the question from the prompt.
        passages: The passages in the prompt.
        most_words: No passage has more words in the prompt than this.

    Raises:
        PromptTooLongError: It does not fit with one word of each passage either.
    """
    words: int | None = None
    while True:
        try:
            return (yield from ask_whole(render(max_words=words), call))
        except PromptTooLongError as error:
            words = shorter(words or most_words, error, passages)


def ask_whole(rendered: Rendered, call: Callable[[Prompt], Call[A]]) -> Plan[Fitted[A]]:
    """Ask about passages in a prompt as it is.

    Raises:
        CallError: The call failed; a `PromptTooLongError` where the prompt does not fit.
    """
    prompt, cut = rendered
    [reply] = yield from ask_replies([call(prompt)])
    if isinstance(reply, CallError):
        raise reply
    if reply.truncated:  # the backend cut these untrusted parts to their limit in tokens
        shown = [i for i, part in enumerate(prompt.untrusted) if part.kind == "passage"]
        cut |= {place for place, i in enumerate(shown) if i in reply.truncated}
    return Fitted(reply.answer, prompt, cut)


def ask_window(
    template: ListwisePrompt,
    query: str,
    passages: Sequence[str],
    call: Callable[[Prompt], Call[A]],
) -> Plan[Fitted[A]]:
    """`ask_fitted` about a window of passages in a listwise prompt.

    Raises:
        PromptTooLongError: It does not fit with one word of each passage either.
    """
    render = partial(template.render, query, passages)
    return (yield from ask_fitted(render, call, passages, template.most_words))


def shorter(limit: int, error: PromptTooLongError, passages: Sequence[str]) -> int:
    """The next word limit to try after ``error``.

    It falls by ``excess // (4 * passages)`` and at least 1, as in RankGPT, FIRST and RankLLM,
    but at most by half: text without spaces has many tokens in a word, and one such passage must
    not cost the others their content.

    Raises:
        PromptTooLongError: The limit was one word per passage already.

    Examples:
        >>> shorter(300, PromptTooLongError(800), ["word " * 400] * 20)
        290
    """
    longest = min(limit, max(map(count_words, passages), default=0))
    if longest <= 1:
        raise PromptTooLongError(
            error.excess_tokens,
            limit=error.limit,
            hint="It does not fit with one word per passage either: use a smaller window, a "
            "shorter query or instruction, a smaller max_tokens or a model with a longer context.",
        ) from error
    step = max(1, error.excess_tokens // (4 * len(passages)))
    return longest - min(step, longest // 2)
