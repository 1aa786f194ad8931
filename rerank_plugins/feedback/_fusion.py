"""One list from what two searches found and a reranker ordered."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar, get_args

K = TypeVar("K", bound=Hashable)

Fuse = Literal["head", "rrf", "second"]
FUSIONS: tuple[str, ...] = get_args(Fuse)

_RRF = 60
"""The usual constant of reciprocal rank fusion (Cormack et al., SIGIR 2009)."""


def fused(
    reranked: Sequence[K],
    first: Sequence[K],
    second: Sequence[K],
    *,
    fuse: Fuse = "head",
    head: int | None = None,
) -> list[K]:
    """Ids of both searches, each once, best first.

    Args:
        reranked: What was reranked, best first.
        first: What the first search found, in its order.
        second: What the last search found, in its order.
        fuse: ``"head"``: the best of ``reranked``, then the second search's order, then the rest.
            ``"rrf"``: reciprocal rank fusion of the reranked list (with the rest of the first
            search below it) and the second search. ``"second"``: the second search alone.
        head: How many of the reranked come first; all when None.

    Examples:
        >>> fused("ba", "abc", "cdb", fuse="head")
        ['b', 'a', 'c', 'd']
        >>> fused("ba", "abc", "cdb", fuse="head", head=1)
        ['b', 'c', 'd', 'a']
        >>> fused("ba", "abc", "cdb", fuse="rrf")
        ['b', 'c', 'a', 'd']
    """
    if fuse == "second":
        return list(second)
    before = once(reranked, first)
    if fuse == "head":
        return once(reranked[:head], second, before)
    points: dict[K, float] = {}
    for ranked in (before, second):
        for rank, key in enumerate(ranked, start=1):
            points[key] = points.get(key, 0.0) + 1 / (_RRF + rank)
    return sorted(points, key=lambda key: -points[key])  # stable: ties keep the first list's order


def once(*lists: Iterable[K]) -> list[K]:
    """The lists one after the other, where each key counts at its first place.

    Examples:
        >>> once("ab", "bc")
        ['a', 'b', 'c']
    """
    return list(dict.fromkeys(key for keys in lists for key in keys))


def dealt(one: Sequence[K], other: Sequence[K], level: Mapping[K, float]) -> list[K]:
    """Two ranked lists merged without comparing their scores.

    Each list's levels are dealt out along its own order, the highest to its best, and the lists
    are merged by what was dealt; ties go to ``one``. Both orders stay as they are.

    Examples:
        >>> dealt("ab", "xy", {"a": 1.0, "b": 9.0, "x": 5.0, "y": 0.0})
        ['a', 'x', 'b', 'y']
    """
    cards = [
        (-value, number, place, key)
        for number, ranked in enumerate((one, other))
        for place, (key, value) in enumerate(
            zip(ranked, sorted((level[k] for k in ranked), reverse=True), strict=True)
        )
    ]
    return [key for *_, key in sorted(cards, key=lambda card: card[:3])]
