"""Role markers and separators that a chat template writes in plain text."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_TAG = re.compile(r"(?<!<)<+[^<>]+>+|(?<!\[)\[+[^\[\]]+\]+|(?<!\{)\{+[^{}]+\}+")
_LABEL = re.compile(r"[:\uff1a]$|[#<>|\[\]{}@$%^~\\]")
_LETTER = re.compile(r"[^\W\d_]")
_PHRASE = 3
"""Words of a role marker at most, where a longer text may end in one, and its letters at least."""


class Mark(NamedTuple):
    """A text that a template writes, and whether it is a mark only where it is a whole line."""

    text: str
    line: bool = False

    def expression(self) -> str:
        """The regular expression that matches it, with ``re.MULTILINE``."""
        escaped = re.escape(self.text)
        return rf"^[ \t]*{escaped}[ \t]*$" if self.line else escaped


def find_marks(pieces: Iterable[str], control: re.Pattern[str]) -> list[Mark]:
    r"""Find the marks that a template writes as plain text.

    Marks are tags (``<|assistant|>``, ``[/INST]``), labels (``USER:``), capitals (``BOTTURN``) and
    whole lines. A word that touches a control token is none: ``user`` after ``<|im_start|>`` says
    nothing without it.

    Args:
        pieces: What the template writes before, between and after the messages.
        control: Matches the control tokens.

    Examples:
        >>> [mark.text for mark in find_marks(["<s>[INST] ", " [/INST]"], re.compile("</?s>"))]
        ['[/INST]', '[INST]']
        >>> find_marks(["<|im_start|>user\n", "<|im_end|>"], re.compile(r"<\|im_\w+\|>"))
        []
    """
    found = {mark for piece in pieces for mark in _of_piece(piece, control)}
    return sorted(found, key=lambda mark: (-len(mark.text), mark))


def _of_piece(piece: str, control: re.Pattern[str]) -> Iterator[Mark]:
    lines = piece.split("\n")
    for line in lines:
        between = control.split(line)
        yield from (Mark(tag) for text in between for tag in _TAG.findall(text))
        rest = [text for part in between for text in _TAG.split(part)]
        alone = len(rest) == 1  # nothing on the line but plain text
        for text in (text.strip() for text in rest):
            if _is_label(text) or (alone and _is_distinct(text)):
                yield Mark(text)
                last = text.split()[-1]
                if text.count(" ") >= _PHRASE and (_is_label(last) or _is_distinct(last)):
                    yield Mark(last)
            elif alone and len(text) > 1 and len(lines) > 1 and _LETTER.search(text):
                yield Mark(text, line=True)


def _is_label(text: str) -> bool:
    return len(text) > 1 and _LABEL.search(text) is not None


def _is_distinct(text: str) -> bool:
    """Whether a text is no ordinary word: a sentence, or capitals."""
    return text.count(" ") >= _PHRASE or (len(text) >= _PHRASE and text.isupper())
