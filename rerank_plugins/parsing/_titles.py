r"""Titles and markup around an answer: ``**Final answer:** 3``, ``\boxed{3}``."""

import re

_MARKS = r"[\s\[\](){}*\"'`#$\\:=_\u3010\uff1a\uff3b]"
_TITLE = (
    "the|my|final|overall|best|most|relevant|relevance|answer|grade|score|rating|ranking|order"
    r"|ranked|label|output|result|response|is|json|boxed|(?<=\\)(?:text|textbf|mathbf|mathrm)"
)
_NAME = "passage|document|doc|option|choice|identifier"
# A word ends where a mark or a number follows. The bounds keep it linear.
_BEFORE_NUMBER, _BEFORE_NAME = (
    re.compile(rf"{_MARKS}*+(?:(?:{words})(?={_MARKS}|\d){_MARKS}*+){{0,12}}+", re.IGNORECASE)
    for words in (_TITLE, f"{_TITLE}|{_NAME}")
)
MARKUP = re.compile(rf"{_MARKS}*+")
"""Markup alone: where a prompt's own words stand before the answer."""

_BOXED = re.compile(r"\\boxed\{\s{0,9}(?:\\(?:text|mathbf|mathrm)\{)?\s{0,9}(\w{1,9})(?!\w)")


def after_title(text: str, start: int = 0, stop: int | None = None, *, names: bool = False) -> int:
    r"""The place in ``text[start:stop]`` after the title and the markup that it begins with.

    Args:
        text: An answer.
        start: Where it starts.
        stop: Where it ends.
        names: Whether a word for a passage is part of the title. If not, the text begins there.

    Examples:
        >>> for text in ("**Grade:** 7", r"The answer is \boxed{7}", "The flea"):
        ...     print(text[after_title(text) :])
        7
        7}
        flea
        >>> after_title("Passage 7"), after_title("Passage 7", names=True)
        (0, 8)
    """
    pattern = _BEFORE_NAME if names else _BEFORE_NUMBER
    found = pattern.match(text, start, len(text) if stop is None else stop)
    return found.end() if found else start


def boxed(text: str, start: int = 0, stop: int | None = None) -> int | None:
    r"""The place of the one word or number that ``text[start:stop]`` puts into ``\boxed{}``.

    Returns:
        Where it stands last; None if there is none, or several that differ.

    Examples:
        >>> boxed(r"So it is \boxed{7}."), boxed(r"\boxed{7} or \boxed{8}")
        (16, None)
    """
    found = list(_BOXED.finditer(text, start, len(text) if stop is None else stop))
    return found[-1].start(1) if len({one[1] for one in found}) == 1 else None
