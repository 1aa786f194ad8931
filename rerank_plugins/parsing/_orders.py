"""Orders from a model's answer, with a count of the repairs.

Written against answers of real 7B and 13B rerankers: a lost first bracket (``12] > [13]``),
list numbers beside identifiers (``1. [14] > 2. [19]``), prose with digits (``20 passages have
been provided.``), empty brackets, repetitions and reasoning. Digits in prose are never read as
identifiers, and identifiers in prose are not an order: an answer is read by its chains
(``[3] > [1]``) and lists. One without any is malformed and leaves the order as it was.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .._content import answer_text
from ..text import Alphabet, plain_characters
from ._titles import after_title, boxed

_ARROW = r">\u2192\u21d2\u21fe\u227b\u2265\u2794\u2798-\u27be\u27f6\u27f9\xbb"
_ITEM = re.compile(r"[A-Za-z0-9]+")
# The text between brackets: "3", or "3, 1, 2".
_LIST = re.compile(r"[A-Za-z0-9]+(?:\s*[,;>]\s*[A-Za-z0-9]+)*")
# A whole answer that is nothing but identifiers: "3 > 1 > 2", "B, A, C", or one per line.
_BARE_LIST = re.compile(
    rf"\A[A-Za-z0-9]++(?:(?:\s*+[{_ARROW},;]\s*+|[^\S\n]*+\n\s*+)[A-Za-z0-9]++)+[\s.>]*+\Z"
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
# The text between two identifiers of a chain or a list.
_LINK = re.compile(
    rf"(?:[\s{_ARROW}=\u2248~,;|/&()\[*_`\"'#\u2022\u2013\u2014-]|&gt;"
    r"|(?:and|then|passages?|documents?)\b|\d{1,3}[.):])*",
    re.IGNORECASE,
)
_ARROWS = re.compile(rf"[{_ARROW}=\u2248~]|&gt;")
_LIST_NUMBER = re.compile(r"\d[.):]")
# Before an arrow: punctuation, two words at most, or a note in parentheses; no tag's end.
_ASIDE = re.compile(r"[^\w(<]*+(?:\w++[^\w(<\n]*+){0,2}(?:\([^()\n]*+\)[^\w()<]*+)?")
_MARKUP = " \t*_`\"'(["
_LONGEST_LINK = 200  # characters


@dataclass(frozen=True, slots=True)
class Parsed:
    """Positions read from an answer, in order and without repetition, and counts of repairs."""

    positions: tuple[int, ...]
    duplicates: int = 0
    out_of_range: int = 0

    def missing(self, n: int) -> tuple[int, ...]:
        """The positions, out of ``n``, that were not read, in the input order."""
        found = set(self.positions)
        return tuple(i for i in range(n) if i not in found)

    def first(self, m: int) -> "Parsed":
        """The first ``m`` positions."""
        return replace(self, positions=self.positions[:m])

    def completed(self, n: int) -> tuple[int, ...]:
        """A permutation of ``n``: the positions read, then the others in the input order."""
        return self.positions + self.missing(n)


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
        return _parsed(_ITEM.findall(answer), n, alphabet)
    places = _places(answer, n, alphabet) if "]" in answer else []
    if not any(place.items for place in places):
        answer = _untitled(answer)
        bare = _BARE_LIST.match(answer)
        return _parsed(_ITEM.findall(answer), n, alphabet) if bare else Parsed(())
    read = [_parsed(_items(places, found), n, alphabet) for found in _lists(places)]
    if not any(found.positions for found in read):
        read += [_parsed(items, n, alphabet) for items in _looser(places, n, alphabet)]
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
    places = _places(answer, n, alphabet)
    named = [item for place in places for item in place.items]
    bare = _NAMED.match(answer, after_title(answer, names=True))
    if bare:
        named = [bare[1]]
    elif not named and ">" in answer and _BARE_LIST.match(_untitled(answer)):
        named = _ITEM.findall(_untitled(answer))[:1]
    elif not named and (place := boxed(answer)) is not None:
        named = _ITEM.findall(answer[place:])[:1]
    every = _parsed(named, n, alphabet)
    if len(every.positions) + every.out_of_range > 1:
        every = Parsed(())
        for last in list(_lists(places))[-1:]:
            items = _items(places, last)
            every = _parsed(items[: last.ordered or len(items) == 1], n, alphabet)
    return every.positions[0] if every.positions else None


class _Place(NamedTuple):
    """A pair of brackets in an answer, or what is left of it.

    Args:
        before: The text since the last bracket.
        items: The identifiers in it; none if it holds something else.
        whole: True if it names a passage and has an opening bracket, which the first of an answer
            may have lost: ``12] > [13]``.
        after: The text up to the next bracket.
    """

    before: str
    items: tuple[str, ...]
    whole: bool
    after: str = ""


class _List(NamedTuple):
    """The identifiers of ``places[first:stop]``, which an answer lists.

    Args:
        first: The first place.
        stop: The place after the last.
        ordered: True if signs such as ``>`` or list numbers order them.
    """

    first: int
    stop: int
    ordered: bool


def _places(answer: str, n: int, alphabet: Alphabet) -> list[_Place]:
    found: list[_Place] = []
    *pieces, rest = answer.split("]")
    for piece in pieces:
        if not piece.strip() and found and found[-1].items:  # a doubled bracket
            continue
        before, opened, inside = piece.rpartition("[")
        if not opened:  # then the last word counts
            inside = (piece[-_LONGEST_LINK:].split() or [""])[-1]
            before = piece.rstrip().removesuffix(inside)
        inside = inside.strip()
        items = _ITEM.findall(inside) if _LIST.fullmatch(inside) else []
        if opened and (not inside or inside.isalnum()):  # also [] and foreign digits: no passage
            items = [inside]
        if len(items) > 1 and not (all(map(str.isdecimal, items)) or max(map(len, items)) == 1):
            items = []
        names = opened and _parsed(items, n, alphabet).positions
        found.append(_Place(before, tuple(items), bool(names)))
    head, opened, inside = rest.rpartition("[")
    cut = opened and (not inside.strip() or inside.strip().isalnum())
    afters = [*(place.before for place in found[1:]), head if cut else rest]
    return [place._replace(after=after) for place, after in zip(found, afters, strict=False)]


def _untitled(answer: str) -> str:
    r"""An answer without its title and the markup around it: ``\boxed{3 > 1}``."""
    return answer[after_title(answer) :].rstrip("}$*`\"' \t\r\n.")


def _items(places: Sequence[_Place], found: _List) -> list[str]:
    return [item for place in places[found.first : found.stop] for item in place.items]


def _link(before: str) -> str:
    """Return the kind of link that a text between two identifiers is.

    "order" by an arrow or a list number, "line" by a line break, "list" by a comma or nothing;
    empty if it is prose. A note may stand before an arrow: ``[3] (on fleas) > [1]``.
    """
    if len(before) > _LONGEST_LINK:
        return ""
    *parts, last = _ARROWS.split(before)
    if not _LINK.fullmatch(last) or (parts and not _ASIDE.fullmatch(parts[0])):
        return ""
    if parts or (_LIST_NUMBER.search(before) and "\n" not in before):
        return "order"
    return "line" if "\n" in before else "list"


def _lists(places: Sequence[_Place]) -> Iterator[_List]:
    """The chains of an answer, and the lists that fill their lines.

    Those on lines that follow each other are one, unless an identifier is repeated: then the
    answer starts again.
    """
    waiting: _List | None = None
    names: set[str] = set()
    for found in _lists_on_lines(places):
        own = set(_items(places, found))
        follows = waiting is not None and waiting.stop == found.first
        if waiting and follows and _link(places[found.first].before) == "line" and not names & own:
            waiting = _List(waiting.first, found.stop, ordered=False)
            names |= own
            continue
        if waiting:
            yield waiting
        waiting, names = found, own
    if waiting:
        yield waiting


def _lists_on_lines(places: Sequence[_Place]) -> Iterator[_List]:
    for first, stop in _runs(places, ("order", "list")):
        if _starts_line(places[first].before) and _ends_line(places[stop - 1].after):
            links = [_link(place.before) for place in places[first + 1 : stop]]
            yield _List(first, stop, ordered=links.count("order") == len(links) > 0)
        else:
            for begin, end in _runs(places[first:stop], ("order",)):
                if end - begin > 1:
                    yield _List(first + begin, first + end, ordered=True)


def _runs(places: Sequence[_Place], links: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of identifiers with such links between them.

    One place of it is whole, unless the first identifier begins the answer.
    """
    first = 0
    for stop in range(1, len(places) + 1):
        both = stop < len(places) and places[stop].items and places[stop - 1].items
        if both and _link(places[stop].before) in links:
            continue
        run = places[first:stop]
        begins = not first and not run[0].before.strip()
        if run[0].items and (begins or any(place.whole for place in run)):
            yield first, stop
        first = stop


def _looser(places: Sequence[_Place], n: int, alphabet: Alphabet) -> Iterator[list[str]]:
    """Lists in an answer that has no chain: one that names all, in prose, or by its lines.

    A passage's text may follow its identifier on a line. If the lines have no list numbers, they
    must name all passages, or the first ones in the order of the prompt.
    """
    for first, stop in _runs(places, ("order", "list", "line")):
        items = _items(places, _List(first, stop, ordered=False))
        read = _parsed(items, n, alphabet)
        if len(read.positions) == n and not read.duplicates:
            yield items
    heads = [
        place
        for i, place in enumerate(places)
        if place.items
        and (not i or "\n" in place.before)
        and _LINK.fullmatch(place.before.rpartition("\n")[2])
    ]
    read = _parsed([item for place in heads for item in place.items], n, alphabet)
    count = len(read.positions)
    numbered = all(_LIST_NUMBER.search(p.before.rpartition("\n")[2]) for p in heads)
    if count > 1 and (numbered or count == n or read.positions == tuple(range(count))):
        yield [item for place in heads for item in place.items]


def _starts_line(before: str) -> bool:
    line = before.rpartition("\n")[2]
    return bool(_LINK.fullmatch(line)) or line.rstrip(_MARKUP)[-1:] in (":", "=", ">")


def _ends_line(after: str) -> bool:
    line = after.partition("\n")[0].strip(_MARKUP + ".,;!)|>}")
    return not line or line.startswith(("<|", "</"))


def _parsed(items: Sequence[str], n: int, alphabet: Alphabet) -> Parsed:
    positions: dict[int, None] = {}
    duplicates = out_of_range = 0
    for position in (_position(item, alphabet) for item in items):
        if position is None:
            continue
        if not 0 <= position < n:
            out_of_range += 1
        elif position in positions:
            duplicates += 1
        else:
            positions[position] = None
    return Parsed(tuple(positions), duplicates, out_of_range)


def _position(identifier: str, alphabet: Alphabet) -> int | None:
    if alphabet == "numbers":
        # Nine digits are more than any list is long, and int() refuses thousands of them.
        return int(identifier[:9]) - 1 if identifier.isascii() and identifier.isdecimal() else None
    return ord(identifier) - ord("A") if len(identifier) == 1 and "A" <= identifier <= "Z" else None
