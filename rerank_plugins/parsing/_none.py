"""Answers that say that no passage is relevant."""

import re

from .._content import answer_text
from ..text import plain_characters

_WORD = re.compile(r"\w+(?:['\u2019]\w+)?")
_EMPTY = re.compile(r"\[\s*\]")
_TITLES = ("final", "answer", "ranking", "result", "output", "response")
_PASSAGES = ("passage", "passages", "document", "documents", "result", "results", "text", "texts")
_SAID = frozenset(("relevant", "answer", "answers", "contain", "contains", "found"))
_OTHERS = """
    none nothing no of the these those them this your a to for all is are was were be seems appear
    appears given provided above listed retrieved candidate candidates search user user's query
    question
"""
_KNOWN = _SAID.union(_PASSAGES, _OTHERS.split())
_LONGEST = 200  # characters


def says_none(text: str, n: int, *, reasoning: bool = False) -> bool:
    """True if a model's answer says, and says nothing else, that no passage is relevant.

    ``none``, an empty list, or a short English sentence: ``None of the passages is relevant.``

    Args:
        text: The model's answer.
        n: The number of passages that it was shown.
        reasoning: Whether the prompt demanded reasoning and then ``<answer>...</answer>``.

    Examples:
        >>> says_none("None of the 20 passages is relevant to the query.", 20), says_none("[]", 20)
        (True, True)
        >>> says_none("None of them is irrelevant.", 20), says_none("", 20)
        (False, False)
    """
    answer = plain_characters(answer_text(text, reasoning=reasoning)).strip()
    if len(answer) > _LONGEST:
        return False
    words = _WORD.findall(answer.lower())
    while words and words[0] in _TITLES:
        words.pop(0)
    brackets = answer.count("[")
    if not words:
        return brackets == 1 and _EMPTY.search(answer) is not None
    if words in (["none"], ["nothing"], ["n", "a"]):
        return brackets < 2
    begins = words[0] in ("none", "nothing") or (
        words[0] == "no" and words[1:2] in [[word] for word in ("relevant", *_PASSAGES)]
    )
    known = set(words) <= _KNOWN | {str(n)}
    return begins and known and not brackets and not _SAID.isdisjoint(words)
