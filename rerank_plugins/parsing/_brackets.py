"""Identifiers in brackets: where an answer has them, and which of them are one chain or list."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..text import Alphabet
from ._positions import read_positions

ARROW = r">\u2192\u21d2\u21fe\u227b\u2265\u2794\u2798-\u27be\u27f6\u27f9\xbb"
ITEM = re.compile(r"[A-Za-z0-9]+")
# The text between brackets: "3", or "3, 1, 2".
_LIST = re.compile(r"[A-Za-z0-9]+(?:\s*[,;>]\s*[A-Za-z0-9]+)*")
# The text between two identifiers of a chain or a list.
_LINK = re.compile(
    rf"(?:[\s{ARROW}=\u2248~,;|/&()\[*_`\"'#\u2022\u2013\u2014-]|&gt;"
    r"|(?:and|then|passages?|documents?)\b|\d{1,3}[.):])*",
    re.IGNORECASE,
)
_ARROWS = re.compile(rf"[{ARROW}=\u2248~]|&gt;")
_LIST_NUMBER = re.compile(r"\d[.):]")
# Before an arrow: punctuation, two words at most, or a note in parentheses; no tag's end.
_ASIDE = re.compile(r"[^\w(<]*+(?:\w++[^\w(<\n]*+){0,2}(?:\([^()\n]*+\)[^\w()<]*+)?")
_MARKUP = " \t*_`\"'(["
_LONGEST_LINK = 200  # characters


class Place(NamedTuple):
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


class Listed(NamedTuple):
    """The identifiers of ``places[first:stop]``, which an answer lists.

    Args:
        first: The first place.
        stop: The place after the last.
        ordered: True if signs such as ``>`` or list numbers order them.
    """

    first: int
    stop: int
    ordered: bool


def find_places(answer: str, n: int, alphabet: Alphabet) -> list[Place]:
    """The pairs of brackets in an answer, in order."""
    found: list[Place] = []
    *pieces, rest = answer.split("]")
    for piece in pieces:
        if not piece.strip() and found and found[-1].items:  # a doubled bracket
            continue
        before, opened, inside = piece.rpartition("[")
        if not opened:  # then the last word counts
            inside = (piece[-_LONGEST_LINK:].split() or [""])[-1]
            before = piece.rstrip().removesuffix(inside)
        inside = inside.strip()
        items = ITEM.findall(inside) if _LIST.fullmatch(inside) else []
        if opened and (not inside or inside.isalnum()):  # also [] and foreign digits: no passage
            items = [inside]
        if len(items) > 1 and not (all(map(str.isdecimal, items)) or max(map(len, items)) == 1):
            items = []
        names = opened and read_positions(items, n, alphabet).positions
        found.append(Place(before, tuple(items), bool(names)))
    head, opened, inside = rest.rpartition("[")
    cut = opened and (not inside.strip() or inside.strip().isalnum())
    afters = [*(place.before for place in found[1:]), head if cut else rest]
    return [place._replace(after=after) for place, after in zip(found, afters, strict=False)]


def items_of(places: Sequence[Place], found: Listed) -> list[str]:
    """The identifiers of a list."""
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


def find_lists(places: Sequence[Place]) -> Iterator[Listed]:
    """The chains of an answer, and the lists that fill their lines.

    Those on lines that follow each other are one, unless an identifier is repeated: then the
    answer starts again.
    """
    waiting: Listed | None = None
    names: set[str] = set()
    for found in _lists_on_lines(places):
        own = set(items_of(places, found))
        follows = waiting is not None and waiting.stop == found.first
        if waiting and follows and _link(places[found.first].before) == "line" and not names & own:
            waiting = Listed(waiting.first, found.stop, ordered=False)
            names |= own
            continue
        if waiting:
            yield waiting
        waiting, names = found, own
    if waiting:
        yield waiting


def _lists_on_lines(places: Sequence[Place]) -> Iterator[Listed]:
    for first, stop in _runs(places, ("order", "list")):
        if _starts_line(places[first].before) and _ends_line(places[stop - 1].after):
            links = [_link(place.before) for place in places[first + 1 : stop]]
            yield Listed(first, stop, ordered=links.count("order") == len(links) > 0)
        else:
            for begin, end in _runs(places[first:stop], ("order",)):
                if end - begin > 1:
                    yield Listed(first + begin, first + end, ordered=True)


def _runs(places: Sequence[Place], links: Sequence[str]) -> Iterator[tuple[int, int]]:
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


def looser_lists(places: Sequence[Place], n: int, alphabet: Alphabet) -> Iterator[list[str]]:
    """Lists in an answer that has no chain: one that names all, in prose, or by its lines.

    A passage's text may follow its identifier on a line. If the lines have no list numbers, they
    must name all passages, or the first ones in the order of the prompt.
    """
    for first, stop in _runs(places, ("order", "list", "line")):
        items = items_of(places, Listed(first, stop, ordered=False))
        read = read_positions(items, n, alphabet)
        if len(read.positions) == n and not read.duplicates:
            yield items
    heads = [
        place
        for i, place in enumerate(places)
        if place.items
        and (not i or "\n" in place.before)
        and _LINK.fullmatch(place.before.rpartition("\n")[2])
    ]
    read = read_positions([item for place in heads for item in place.items], n, alphabet)
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
