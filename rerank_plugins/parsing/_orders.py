"""Orders from a model's answer, with a count of the repairs.

Written against answers of real 7B and 13B rerankers: a lost first bracket (``12] > [13]``),
list numbers beside identifiers (``1. [14] > 2. [19]``), prose with digits (``20 passages have
been provided.``), empty brackets, repetitions and reasoning. Digits in prose are never read as
identifiers, and identifiers in prose are not an order: an answer is read by its chains
(``[3] > [1]``) and lists. One without any is malformed and leaves the order as it was.
"""

import re

from .._content import answer_text
from ..text import Alphabet, plain_characters
from ._brackets import ARROW, ITEM, find_lists, find_places, items_of, looser_lists
from ._positions import Parsed, read_positions
from ._titles import after_title, boxed

# A whole answer that is nothing but identifiers: "3 > 1 > 2", "B, A, C", or one per line.
_BARE_LIST = re.compile(
    rf"\A[A-Za-z0-9]++(?:(?:\s*+[{ARROW},;]\s*+|[^\S\n]*+\n\s*+)[A-Za-z0-9]++)+[\s.>]*+\Z"
)
# The usual answer, as a whole: "[3] > [1] > [2]". It needs no search for chains.
_CHAIN = re.compile(r"\s?\[(?:[0-9]{1,9}|[A-Z])\](?:[ \n]?>[ \n]?\[(?:[0-9]{1,9}|[A-Z])\])*+\.?\s?")
# A whole answer, after its title, that names one passage: "B", or "B is the most relevant one."
_NAMED = re.compile(
    r"([A-Za-z]|\d{1,9})[\"'`*_\])}]*+(?:\s{1,9}is(?:\s{1,9}(?:the|a|an|most|more|best|relevant|answer"
    r"|passage|document|one|to|for|your|this|given|query|question))"
    r"{1,12})?[\s.\"'`*_\])}$]*+\Z",
    re.IGNORECASE,
)


def parse_permutation(
    text: str, n: int, alphabet: Alphabet = "numbers", *, reasoning: bool = False
) -> Parsed:
    """Read the identifiers of ``n`` passages from a listwise answer.

    Args:
        text: The model's answer.
        n: The number of passages in the window.
        alphabet: The identifiers in the prompt.
        reasoning: Whether the prompt demanded reasoning and then ``<answer>...</answer>``.

    Returns:
        The positions: of the chain or list that names most passages, and of those the last; none
        if the answer is unusable.

    Examples:
        >>> parse_permutation("[2] > [3] > [1]", 3).positions
        (1, 2, 0)
        >>> parse_permutation("[1] is off topic. Final ranking: [3] > [2] > [1]", 3).positions
        (2, 1, 0)
        >>> parse_permutation("20 passages have been provided; [1] is weak.", 20).positions
        ()
        >>> parse_permutation("2] > [2] > [7]", 3)
        Parsed(positions=(1,), duplicates=1, out_of_range=1)
    """
    usual = not reasoning and _CHAIN.fullmatch(text)
    answer = text if usual else plain_characters(answer_text(text, reasoning=reasoning))
    if usual or _CHAIN.fullmatch(answer):
        return read_positions(ITEM.findall(answer), n, alphabet)
    places = find_places(answer, n, alphabet) if "]" in answer else []
    if not any(place.items for place in places):
        answer = _untitled(answer)
        bare = _BARE_LIST.match(answer)
        return read_positions(ITEM.findall(answer), n, alphabet) if bare else Parsed(())
    read = [read_positions(items_of(places, found), n, alphabet) for found in find_lists(places)]
    if not any(found.positions for found in read):
        read += [read_positions(items, n, alphabet) for items in looser_lists(places, n, alphabet)]
    # Of equals, the last: max() would return the first.
    return max(reversed(read), key=lambda p: (len(p.positions), p.out_of_range), default=Parsed(()))


def parse_label(text: str, n: int, alphabet: Alphabet, *, reasoning: bool = False) -> int | None:
    r"""Read the one passage that a setwise answer names: ``[3]``, ``B``, ``Answer: Passage B``.

    Of several passages, it is the first of the last chain (``[3] > [1]``), or the one that stands
    alone on the last line that is no prose.

    Returns:
        Its position; None if the answer names none of the ``n``, or more than one.

    Examples:
        >>> parse_label("Passage C", 4, "letters"), parse_label("It depends.", 4, "letters")
        (2, None)
        >>> parse_label("[1] is weak, and [2] is off topic.\n\n[3]", 3, "numbers")
        2
    """
    answer = plain_characters(answer_text(text, reasoning=reasoning)).strip()
    places = find_places(answer, n, alphabet)
    named = [item for place in places for item in place.items]
    bare = _NAMED.match(answer, after_title(answer, names=True))
    if bare:
        named = [bare[1]]
    elif not named and ">" in answer and _BARE_LIST.match(_untitled(answer)):
        named = ITEM.findall(_untitled(answer))[:1]
    elif not named and (place := boxed(answer)) is not None:
        named = ITEM.findall(answer[place:])[:1]
    every = read_positions(named, n, alphabet)
    if len(every.positions) + every.out_of_range > 1:
        every = Parsed(())
        for last in list(find_lists(places))[-1:]:
            items = items_of(places, last)
            every = read_positions(items[: last.ordered or len(items) == 1], n, alphabet)
    return every.positions[0] if every.positions else None


def _untitled(answer: str) -> str:
    r"""An answer without its title and the markup around it: ``\boxed{3 > 1}``."""
    return answer[after_title(answer) :].rstrip("}$*`\"' \t\r\n.")
