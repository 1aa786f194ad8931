"""What to do when a prompt does not fit: shorten the passages and ask again."""

from collections.abc import Sequence

from ..errors import PromptTooLongError
from ..text import count_words


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
            hint="It does not fit with one word a passage either: use a smaller window, a "
            "shorter query or a model with a longer context.",
        ) from error
    step = max(1, error.excess_tokens // (4 * len(passages)))
    return longest - min(step, longest // 2)
